"""Processes as remediations see them: distinguished from later ones of the same number, signalled
without a race, and never one that the machine or the agent itself lives by.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from services.healer.remediations.base import StepFailed

_STATE, _PARENT, _START = 0, 1, 19
"""Places after the name in /proc/PID/stat (proc_pid_stat(5))."""
_UTIME, _STIME, _NICE, _RSS = 11, 12, 16, 21
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Programs(BaseModel):
    """The users whose processes may be acted on; without patterns nobody's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    programs: tuple[str, ...] = Field(
        default=(), description="Shell patterns of the executables' names, without their paths."
    )
    users: tuple[str, ...] = Field(
        default=("*",),
        min_length=1,
        description="Shell patterns of the names of the processes' users; root must be named.",
    )

    def allows(self, process: Process) -> bool:
        """Return whether the process is of an allowed program and user."""
        if not any(fnmatchcase(process.program, pattern) for pattern in self.programs):
            return False
        if process.user == "root":
            return "root" in self.users
        return any(fnmatchcase(process.user, pattern) for pattern in self.users)


@dataclass(frozen=True)
class Process:
    """One process as it was seen."""

    pid: int
    start: int
    """Clock ticks after boot; with the pid it names one process only."""
    parent: int
    program: str
    user: str
    arguments: tuple[str, ...]
    age_s: float
    cpu_s: float
    rss: int
    nice: int

    @property
    def identity(self) -> str:
        return f"{self.pid}:{self.start}"


def processes() -> list[Process]:
    """All readable processes except kernel threads, init, this process and its ancestors."""
    spared = _ancestors(os.getpid())
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in spared:
            process = read(int(entry.name), uptime)
            if process is not None and process.arguments:
                found.append(process)
    return found


def read(pid: int, uptime: float | None = None) -> Process | None:
    """One process; None when it has ended."""
    directory = Path(f"/proc/{pid}")
    try:
        stat = _stat(pid)
        arguments = (directory / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        owner = directory.stat().st_uid
        if uptime is None:
            uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if stat[_STATE] in "ZX":
        return None
    words = tuple(os.fsdecode(word) for word in arguments if word)
    return Process(
        pid=pid,
        start=int(stat[_START]),
        parent=int(stat[_PARENT]),
        program=_program(pid, words),
        user=_user(owner),
        arguments=words,
        age_s=uptime - int(stat[_START]) / _TICKS,
        cpu_s=(int(stat[_UTIME]) + int(stat[_STIME])) / _TICKS,
        rss=int(stat[_RSS]) * _PAGE,
        nice=int(stat[_NICE]),
    )


def lives(identity: str) -> bool:
    """Return whether exactly this process is still there."""
    pid, _, start = identity.partition(":")
    try:
        stat = _stat(int(pid))
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    return stat[_START] == start and stat[_STATE] not in "ZX"


def end(identity: str, grace_s: float) -> None:
    """SIGTERM, and SIGKILL if it is still there after the grace; returns when it is gone.

    Raises StepFailed when it may not be signalled, or does not end.
    """
    with _held(identity) as handle:
        if handle is None:
            return
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return
            except PermissionError as error:
                raise StepFailed("it belongs to another user: this needs root") from error
            # The descriptor becomes readable when the process ends.
            if select.select([handle], [], [], wait_s)[0]:
                return
    raise StepFailed("it does not end even when killed: it waits for a device")


def set_nice(identity: str, nice: int) -> None:
    """Give a process another niceness; StepFailed when it is gone or may not be."""
    with _held(identity) as handle:
        if handle is None:
            raise StepFailed("it has ended")
        try:
            os.setpriority(os.PRIO_PROCESS, int(identity.partition(":")[0]), nice)
        except PermissionError as error:
            raise StepFailed("this needs root") from error


@contextmanager
def _held(identity: str) -> Iterator[int | None]:
    """A descriptor that means this process whatever becomes of its number; None when it is gone."""
    try:
        handle = os.pidfd_open(int(identity.partition(":")[0]))
    except ProcessLookupError:
        yield None
        return
    try:
        # Read after the descriptor was opened, so the pid cannot have been reused.
        yield handle if lives(identity) else None
    finally:
        os.close(handle)


def _stat(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def _program(pid: int, arguments: tuple[str, ...]) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return Path(arguments[0]).name if arguments else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _ancestors(pid: int) -> set[int]:
    found = {1}
    while pid > 1:
        found.add(pid)
        try:
            pid = int(_stat(pid)[_PARENT])
        except OSError:
            break
    return found
