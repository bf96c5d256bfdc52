"""Finds out from the kernel and from /proc whether a process has a file open."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FRESH_S = 1.0


class HeldError(Exception):
    """Somebody else has the file open."""


class OpenFiles:
    """All files that processes of this machine (of our PID namespace) have open.

    ``unseen`` is how many processes could not be looked into: without the rights of root these
    are other users' processes.
    """

    def __init__(self) -> None:
        self._held: set[tuple[int, int]] = set()
        self._read_at = float("-inf")
        self.unseen = 0

    def holds(self, device: int, inode: int) -> bool:
        """Return whether the file is open somewhere, as of at most a second ago."""
        if time.monotonic() - self._read_at > _FRESH_S:
            self._read()
        return (device, inode) in self._held

    def _read(self) -> None:
        self._held, self.unseen = set(), 0
        with os.scandir("/proc") as processes:
            for process in processes:
                if process.name.isdigit() and not self._read_process(f"/proc/{process.name}/fd"):
                    self.unseen += 1
        self._read_at = time.monotonic()

    def _read_process(self, directory: str) -> bool:
        """Read a process' open files; return False if it hides them. One that has ended hides
        none.
        """
        try:
            descriptors = [*Path(directory).iterdir()]
        except OSError as error:
            return error.errno in {errno.ENOENT, errno.ESRCH}
        for descriptor in descriptors:
            try:
                status = descriptor.stat()
            except OSError:
                continue  # closed meanwhile, or nothing that a path leads to
            self._held.add((status.st_dev, status.st_ino))
        return True


@contextmanager
def alone_with(directory: int, name: str) -> Iterator[int]:
    """Yield a descriptor of a file that nobody else has open, and keep it so.

    Linux grants a write lease only while there is no other open descriptor, whoever's process
    and whatever container it is in; while we hold it, whoever opens the file waits. Where the
    file system or our rights do not allow leases, the file is yielded all the same and /proc
    (``OpenFiles``) must have the answer.

    Raises:
        HeldError: somebody has it open.
        OSError: it cannot be opened (a symbolic link never can).
    """
    descriptor = os.open(
        name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
    )
    try:
        try:
            # The kernel reports an opener by a signal, whose default action would end us.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                raise HeldError from error
        yield descriptor
    finally:
        os.close(descriptor)


class Writers:
    """The processes that are writing each file, and whether each descriptor appends."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], list[bool]] = {}
        self.unseen = 0
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                self._read(process)

    def of(self, device: int, inode: int) -> list[bool]:
        """One entry a writing descriptor: whether it was opened for appending."""
        return self._found.get((device, inode), [])

    def _read(self, process: Path) -> None:
        try:
            descriptors = [*(process / "fd").iterdir()]
        except OSError as error:
            self.unseen += error.errno not in {errno.ENOENT, errno.ESRCH}
            return
        for descriptor in descriptors:
            try:
                status = descriptor.stat()
                path = process / "fdinfo" / descriptor.name
                info = path.read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            flags = next((line.split()[1] for line in info.splitlines() if "flags" in line), "0")
            mode = int(flags, 8)
            if mode & os.O_ACCMODE != os.O_RDONLY:
                appends = bool(mode & os.O_APPEND)
                self._found.setdefault((status.st_dev, status.st_ino), []).append(appends)
