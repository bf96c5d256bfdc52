"""Processes by identity (pid and start time) and by mark, read from /proc."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

MARK = "BAROGRAPH_MEMBER"
"""Environment variable every process of a member carries, naming its incarnation."""
_START_TIME_FIELD = 19
"""Position of the start time in /proc/PID/stat after the parenthesised name."""


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which ``pid`` started; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_START_TIME_FIELD])


def send(pid: int, started: int, number: signal.Signals) -> bool:
    """Signal exactly the process that started then; False when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_time(pid) != started:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def marked(keys: Collection[str], uid: int | None = None) -> Iterator[tuple[int, int]]:
    """(pid, start time) of every process whose environment names one of these members.

    Args:
        keys: the members.
        uid: the user they run as, if known: another stack may have a job of the same name.
    """
    marks = {f"{MARK}={key}".encode() for key in keys}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if uid is not None and entry.stat().st_uid != uid:
                continue
            environment = (entry / "environ").read_bytes()
            if not marks.isdisjoint(environment.split(b"\0")):
                started = start_time(int(entry.name))
                if started is not None:
                    yield int(entry.name), started


def kill_marked(keys: Collection[str], uid: int | None = None) -> int:
    """End every process that carries one of these marks; how many there were."""
    return sum(send(pid, started, signal.SIGKILL) for pid, started in marked(keys, uid))


def of_user(uid: int) -> list[tuple[int, int]]:
    """(pid, start time) of every living process of a user."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                started = start_time(int(entry.name)) if entry.stat().st_uid == uid else None
                if started is not None:
                    found.append((int(entry.name), started))
    return found


def users() -> set[int]:
    """Everybody who has a process."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found.add(entry.stat().st_uid)
    return found


def kill_user(uid: int, patience_s: float = 5.0) -> bool:
    """End every process of a user, also new ones, and return whether none is left."""
    deadline = time.monotonic() + patience_s
    while living := of_user(uid):
        if time.monotonic() > deadline:
            return False
        for pid, started in living:
            send(pid, started, signal.SIGKILL)
        time.sleep(0.01)
    return True
