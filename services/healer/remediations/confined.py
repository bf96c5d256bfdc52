"""Walking and deleting below one root by descriptors, so that no symbolic link can lead out.

A path is only ever resolved one component at a time, relative to an open directory and without
following links. A descriptor keeps meaning the directory it was opened on, whatever somebody
renames meanwhile; and every directory must be on the root's own mount.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

log = structlog.get_logger(__name__)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 64
Allowed = TypeVar("Allowed")
Found = TypeVar("Found")


@dataclass(frozen=True, order=True)
class File:
    """A regular file as it was found; sorts by age, oldest first."""

    modified_ns: int
    parts: tuple[str, ...]
    """The path from the root, as a list with the name last."""
    device: int
    inode: int
    size: int
    links: int

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def identity(self) -> str:
        """Device and inode."""
        return f"{self.device}:{self.inode}"

    def is_still(self, status: os.stat_result) -> bool:
        """Return whether it is the same file, not written to since."""
        return stat.S_ISREG(status.st_mode) and (
            status.st_dev,
            status.st_ino,
            status.st_mtime_ns,
            status.st_size,
        ) == (self.device, self.inode, self.modified_ns, self.size)


class ChangedError(Exception):
    """A file has disappeared or changed since it was found; the text says how."""


class Confined:
    """An open root; close it after use (``with opened(path) as root``)."""

    def __init__(self, descriptor: int) -> None:
        self._root = descriptor
        self.device = os.fstat(descriptor).st_dev
        self._mount = _mount_id(descriptor)
        self.unread = 0
        """Directories that could not be read."""

    def files(self) -> Iterator[list[File]]:
        """The regular files of each directory below, a list a directory; links are not followed."""
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                with self.directory(parts) as descriptor:
                    found, inner = _listed(descriptor, parts)
            except (OSError, ChangedError):
                self.unread += 1
                continue
            if len(parts) < _MAX_DEPTH:
                waiting += inner
            yield found

    @contextmanager
    def directory(self, parts: tuple[str, ...]) -> Iterator[int]:
        """A descriptor of a directory below, reached without following a link or a mount.

        Raises:
            OSError: a component is not there, or a symbolic link.
            ChangedError: it is on another mount.
        """
        current = os.dup(self._root)
        try:
            for part in parts:
                inner = os.open(part, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = inner
            if os.fstat(current).st_dev != self.device or _mount_id(current) != self._mount:
                raise ChangedError("on another mount")
            yield current
        finally:
            os.close(current)


@contextmanager
def opened(path: Path) -> Iterator[Confined]:
    """Open an absolute path as a root.

    Raises:
        OSError: it is not there, not a directory, or a component is a symbolic link.
    """
    current = os.open("/", _DIRECTORY)
    try:
        for part in path.parts[1:]:
            inner = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
        yield Confined(current)
    finally:
        os.close(current)


def each_root(
    allowed: Sequence[Allowed],
    path: Callable[[Allowed], Path],
    look: Callable[[Allowed], Iterable[Found]],
) -> list[Found]:
    """Look below each allow-listed root; one that cannot be read costs only itself.

    Machines share their settings, and not each of them has every directory.

    Raises:
        OSError: of the first root, when none could be read.
    """
    found: list[Found] = []
    faults: list[OSError] = []
    for each in allowed:
        try:
            found += look(each)
        except OSError as error:
            log.warning("root_not_read", root=str(path(each)), reason=str(error))
            faults.append(error)
    if faults and len(faults) == len(allowed):
        raise faults[0]
    return found


def _listed(descriptor: int, parts: tuple[str, ...]) -> tuple[list[File], list[tuple[str, ...]]]:
    files, directories = [], []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile
            way = (*parts, entry.name)
            if stat.S_ISDIR(status.st_mode):
                directories.append(way)
            elif stat.S_ISREG(status.st_mode):
                files.append(
                    File(
                        status.st_mtime_ns,
                        way,
                        status.st_dev,
                        status.st_ino,
                        status.st_size,
                        status.st_nlink,
                    )
                )
    return files, directories


def _mount_id(descriptor: int) -> str:
    # A bind mount from the same file system has the same device, but its own mount id.
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines():
        if line.startswith("mnt_id:"):
            return line.split()[1]
    return ""
