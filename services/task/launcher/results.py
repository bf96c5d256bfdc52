"""Reads the files that a program left, confined to its directory.

Everything is opened by descriptor, from the directory down and following no link, because the
program could put a link in a directory's place, before it ended or while we read. Links that end
inside are read for their contents. What cannot be read is reported with its reason, never left
out in silence.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from shared.storage import is_storable

MAX_FILES = 100_000
MAX_STEPS = 300_000
"""The limit of examined names; links can create many paths from few folders."""
_MAX_LEVELS = 64
_MAX_LINKS = 40
_MAX_KEY = 900
"""Bytes of a name; an object's key has 1024 with what stands before it."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

_Place = tuple[str, ...]
"""A directory below the root, by the names that lead to it; none of them is a link."""


@dataclass(frozen=True)
class LeftFile:
    """A file as it was opened; ``descriptor`` is closed when the next one is asked for."""

    name: str
    descriptor: int

    @property
    def path(self) -> Path:
        """A path that means this file, whatever becomes of its name."""
        return Path(f"/proc/self/fd/{self.descriptor}")


class LeftOut:
    """The files that were not stored: how many, and the first of them with their reasons."""

    def __init__(self, most_reasons: int = 1000) -> None:
        self.number = 0
        self.reasons: list[str] = []
        self._most = most_reasons

    def add(self, name: str, reason: str) -> None:
        """Note one more name that is left out, and the reason."""
        self.number += 1
        if len(self.reasons) < self._most:
            self.reasons.append(f"{name[:200]!r}: {reason}")


class _EnoughError(Exception):
    """The limit of examined entries is reached."""


class _LeadsOutError(Exception):
    """A link leads out of the directory."""


class Results:
    """Reads what was left below directories of one parent.

    Args:
        owner: whose files are taken; None: everybody's.
        left_out: called with what is not.
        most_files: of all directories together.
        most_steps: names looked at in all directories together.
    """

    def __init__(
        self,
        owner: int | None,
        left_out: LeftOut,
        most_files: int = MAX_FILES,
        most_steps: int = MAX_STEPS,
    ) -> None:
        self._owner, self._left_out = owner, left_out
        self._most_files, self._most_steps = most_files, most_steps
        self._files = 0
        self.steps_left = most_steps
        """The number of names that may still be examined."""

    def files(self, directory: Path) -> Iterator[LeftFile]:
        """Every file below ``directory``, its name relative to it."""
        parent = os.open(directory.parent, _DIRECTORY)
        try:
            root = os.open(directory.name, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._left_out.add(directory.name, "is no directory any more")
            return
        finally:
            os.close(parent)
        try:
            yield from _Walk(self, root, directory).files((), "", ())
        except _EnoughError:
            self._left_out.add(directory.name, f"holds more than {self._most_steps} names")
        finally:
            os.close(root)

    def step(self) -> None:
        """Count one more examined name."""
        self.steps_left -= 1
        if self.steps_left < 0:
            raise _EnoughError

    def leave_out(self, name: str, reason: str) -> None:
        """Note what is not taken."""
        self._left_out.add(name, reason)

    def opened(self, name: str, descriptor: int) -> Iterator[LeftFile]:
        """The file, if it may be taken."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.leave_out(name, "neither a file nor a directory")
        elif self._owner is not None and status.st_uid != self._owner:
            self.leave_out(name, "belongs to another user")
        elif not is_storable(name) or len(name.encode()) > _MAX_KEY:
            reason = "too long, not printable, or with a backslash or ${filename}"
            self.leave_out(name, f"its name cannot be an object's: {reason}")
        elif self._files >= self._most_files:
            self.leave_out(name, f"more than {self._most_files} files")
        else:
            self._files += 1
            yield LeftFile(name, descriptor)


class _Walk:
    """One directory, from its descriptor ``root``; ``path`` is what the program calls it."""

    def __init__(self, results: Results, root: int, path: Path) -> None:
        self._results, self._root, self._path = results, root, str(path)

    def files(self, place: _Place, shown: str, above: tuple[int, ...]) -> Iterator[LeftFile]:
        """The files below ``place``, reached as ``shown`` through the inodes ``above``."""
        try:
            with self._directory(place) as descriptor:
                inode = os.fstat(descriptor).st_ino
                if inode in above:
                    self._results.leave_out(shown, "a link to a folder that contains it")
                    return
                if len(above) >= _MAX_LEVELS:
                    self._results.leave_out(shown, f"deeper than {_MAX_LEVELS} folders")
                    return
                with os.scandir(descriptor) as entries:
                    few = islice(entries, self._results.steps_left + 1)
                    names = sorted(entry.name for entry in few)
                for name in names:
                    self._results.step()
                    below = f"{shown}/{name}" if shown else name
                    yield from self._entry(descriptor, place, name, below, (*above, inode))
        except OSError as error:
            self._results.leave_out(shown, _unreadable(error))

    def _entry(
        self, directory: int, place: _Place, name: str, shown: str, above: tuple[int, ...]
    ) -> Iterator[LeftFile]:
        try:
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                target = os.readlink(name, dir_fd=directory)
                yield from self._linked(self._resolve(place, target), shown, above)
            elif stat.S_ISDIR(mode):
                yield from self.files((*place, name), shown, above)
            else:
                yield from self._file(directory, name, shown)
        except _LeadsOutError:
            self._results.leave_out(shown, "a link that leads out of the directory")
        except OSError as error:
            self._results.leave_out(shown, _unreadable(error))

    def _linked(
        self, found: tuple[_Place, str | None], shown: str, above: tuple[int, ...]
    ) -> Iterator[LeftFile]:
        place, name = found
        if name is None:
            yield from self.files(place, shown, above)
        else:
            with self._directory(place) as directory:
                yield from self._file(directory, name, shown)

    def _file(self, directory: int, name: str, shown: str) -> Iterator[LeftFile]:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            self._results.leave_out(shown, "neither a file nor a directory")
            return
        descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            yield from self._results.opened(shown, descriptor)
        finally:
            os.close(descriptor)

    def _resolve(self, place: _Place, target: str) -> tuple[_Place, str | None]:
        """The target of a link in ``place``: a directory, or a directory and a file's name in it.

        Raises:
            _LeadsOutError: when that is not below the root.
            OSError: when there is nothing, or the links go in a circle.
        """
        links = 1
        place, parts = self._from(place, target, [])
        while parts:
            self._results.step()
            part = parts.pop()
            if part == "..":
                place = _above(place)
                continue
            mode, text = self._look(place, part)
            if text is not None:
                links += 1
                place, parts = self._from(place, text, parts)
            elif stat.S_ISDIR(mode):
                place = (*place, part)
            elif parts:
                raise NotADirectoryError(errno.ENOTDIR, "a link through a file")
            else:
                return place, part
            if links > _MAX_LINKS or len(place) > _MAX_LEVELS:
                raise OSError(errno.ELOOP, "a link through too many links or folders")
        return place, None

    def _look(self, place: _Place, name: str) -> tuple[int, str | None]:
        """The mode of a name, and what it says if it is a link."""
        with self._directory(place) as directory:
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            return mode, os.readlink(name, dir_fd=directory) if stat.S_ISLNK(mode) else None

    def _from(self, place: _Place, text: str, rest: list[str]) -> tuple[_Place, list[str]]:
        """The directory to begin with, and the components to go, the next one last."""
        if text.startswith("/"):
            inside = text == self._path or text.startswith(f"{self._path}/")
            if not inside:
                raise _LeadsOutError
            place, text = (), text.removeprefix(self._path)
        return place, [*rest, *reversed([p for p in text.split("/") if p not in ("", ".")])]

    @contextmanager
    def _directory(self, place: _Place) -> Iterator[int]:
        descriptor = os.dup(self._root)
        try:
            for name in place:
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _above(place: _Place) -> _Place:
    if not place:
        raise _LeadsOutError
    return place[:-1]


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
