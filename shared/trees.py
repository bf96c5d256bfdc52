"""Deletes and lists directories that others filled, however deep they are nested.

``shutil`` and ``os.walk`` call themselves once for each level, and a program may leave a thousand
levels: then they raise RecursionError, or stop with too many open files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_ONCE = 1_000
"""Names of subdirectories that are held for each level at one time."""
_Identity = tuple[int, int]


def delete(path: Path) -> None:
    """Delete a directory with everything in it; nothing at ``path`` is no fault.

    Raises:
        OSError: for the first entry that cannot be deleted; the rest is left.
    """
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        delete_at(path.name, parent)
    except FileNotFoundError:
        return
    finally:
        os.close(parent)


def delete_at(name: str, parent: int) -> None:
    """Delete an entry of the directory open as ``parent``; links are deleted, never followed.

    Raises:
        OSError: as ``delete``.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    _empty(_opened(name, parent))
    os.rmdir(name, dir_fd=parent)


def files(directory: Path, most_levels: int) -> Iterator[tuple[Path, int]]:
    """The files below ``directory``, each with the descriptor of the directory that holds it.

    Paths are relative to ``directory``. What lies deeper than ``most_levels`` is left out, and so
    are links to directories.
    """
    for folder, folders, names, at in os.fwalk(directory, follow_symlinks=False):
        below = Path(folder).relative_to(directory)
        if len(below.parts) >= most_levels:
            folders.clear()
        for name in sorted(names):
            yield below / name, at


def _empty(at: int) -> None:
    """Delete what is in the directory open as ``at``, and close it.

    It goes down and up by descriptors, of which two are open at a time.
    """
    above: list[tuple[str, _Identity, list[str]]] = []
    try:
        pending = _directories(at)
        while pending or above:
            if pending:
                name = pending.pop()
                below = _opened(name, at)
                above.append((name, _identity(at), pending))
                os.close(at)
                at = below
                pending = _directories(at)
                continue
            name, identity, pending = above.pop()
            up = os.open("..", _FLAGS, dir_fd=at)
            os.close(at)
            at = up
            if _identity(at) != identity:
                raise OSError(f"{name!r} was moved while it was deleted")
            os.rmdir(name, dir_fd=at)
            pending = pending or _directories(at)
    finally:
        os.close(at)


def _directories(at: int) -> list[str]:
    """Some subdirectories, after every other entry that was met before them is deleted."""
    with os.scandir(at) as entries:
        return list(islice(_met(entries, at), _AT_ONCE))


def _met(entries: Iterator[os.DirEntry[str]], at: int) -> Iterator[str]:
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield entry.name
        else:
            os.unlink(entry.name, dir_fd=at)


def _opened(name: str, parent: int) -> int:
    """A subdirectory, with the rights to read and change it, which its owner may have taken."""
    try:
        directory = os.open(name, _FLAGS, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        directory = os.open(name, _FLAGS, dir_fd=parent)
    status = os.fstat(directory)
    if status.st_mode & stat.S_IRWXU != stat.S_IRWXU and status.st_uid == os.geteuid():
        os.fchmod(directory, 0o700)
    return directory


def _identity(directory: int) -> _Identity:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino
