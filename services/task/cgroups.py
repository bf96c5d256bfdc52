"""Control groups, version 1 or 2: limits for a program and its descendants, and their end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
_REMOVE_S = 2.0


@dataclass
class Cgroup:
    """The directories of one control group (one per controller in version 1)."""

    directories: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    memory: bool = False
    """True if the memory limit is enforced by the kernel."""

    @property
    def entrances(self) -> list[str]:
        """The files into which a process writes its pid to join."""
        return [str(directory / "cgroup.procs") for directory in self.directories]

    def oom_killed(self) -> bool:
        """Return whether the kernel ended a process of the group for its memory."""
        for directory in self.directories:
            for name in ("memory.oom_control", "memory.events"):
                with suppress(OSError):
                    for line in (directory / name).read_text().splitlines():
                        word, _, value = line.partition(" ")
                        if word == "oom_kill" and int(value) > 0:
                            return True
        return False

    def remove(self) -> None:
        """End whatever is still in the group and take it away."""
        remove(self.directories)


def remove(directories: Iterable[Path]) -> None:
    """End whatever is still in these groups and take them away."""
    for directory in directories:
        deadline = time.monotonic() + _REMOVE_S
        while directory.exists() and time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                for pid in (directory / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):
                directory.rmdir()
                break
            time.sleep(0.02)


def create(name: str, cpu: float, memory: int) -> Cgroup:
    """A group with these limits (cores, bytes) as far as this machine lets us; else notes."""
    group = Cgroup()
    if (ROOT / "cgroup.controllers").exists():
        _create_v2(group, name, cpu, memory)
    else:
        _create_v1(group, name, cpu, memory)
    return group


def _create_v1(group: Cgroup, name: str, cpu: float, memory: int) -> None:
    wanted = {
        "memory": {"memory.limit_in_bytes": str(memory)},
        "cpu": {
            "cpu.cfs_period_us": str(_PERIOD_US),
            "cpu.cfs_quota_us": str(max(1000, int(cpu * _PERIOD_US))),
        },
    }
    for controller, values in wanted.items():
        try:
            directory = _own_v1(controller) / name
            directory.mkdir(exist_ok=True)
            group.directories.append(directory)
            for file, value in values.items():
                (directory / file).write_text(value)
        except OSError as error:
            group.notes.append(_unhonoured(controller, error))
        else:
            group.memory = group.memory or controller == "memory"
    if group.memory:
        # A program could swap instead of ending if swap were not limited too.
        with suppress(OSError):
            (group.directories[0] / "memory.memsw.limit_in_bytes").write_text(str(memory))


def _own_v1(controller: str) -> Path:
    """Our own group of a controller, if visible, so that its limits apply to the new group."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            own = ROOT / controller / path.lstrip("/")
            if own.is_dir():
                return own
    return ROOT / controller


def _create_v2(group: Cgroup, name: str, cpu: float, memory: int) -> None:
    directory = ROOT / name
    try:
        (ROOT / "cgroup.subtree_control").write_text("+memory +cpu")
        directory.mkdir(exist_ok=True)
        group.directories.append(directory)
        (directory / "memory.max").write_text(str(memory))
        group.memory = True
        (directory / "cpu.max").write_text(f"{max(1000, int(cpu * _PERIOD_US))} {_PERIOD_US}")
    except OSError as error:
        group.notes.append(_unhonoured("cpu" if group.memory else "memory and cpu", error))


def _unhonoured(what: str, error: OSError) -> str:
    return f"the kernel does not limit {what}: {error.strerror or error}"
