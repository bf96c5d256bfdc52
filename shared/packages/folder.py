"""The selection of a folder's files for its package, by the package's own rules."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from shared.packages.bounds import MAX_FAULTS, Bounds, PackageError, PackageRefused
from shared.packages.inventory import Entry, Inventory, too_long, usable
from shared.packages.tree import Kind, parts_of

LEFT_OUT = (
    *("__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache"),
)
"""The names of folders that only tools need; they are not packed."""
OF_AN_ENVIRONMENT = ("pyvenv.cfg", "conda-meta/history")
"""The files that every virtual environment has, of venv or of conda."""
_TOPS = ("code", "data")
_MAX_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """A member of the package, and the path it is read from."""

    path: Path
    entry: Entry
    executable: bool = False


class Folder:
    """A folder that holds ``code`` and maybe ``data``; either may be a link to where it is.

    Args:
        folder: the folder.
        bounds: how much a package may hold.
        archive: the package to be made; one of before in the folder is not packed.

    Raises:
        PackageError: when there is no code.
    """

    def __init__(self, folder: Path, bounds: Bounds, archive: Path | None = None) -> None:
        if not (folder / "code").is_dir():
            raise PackageError(f"{folder} has no folder 'code'{_meant(folder)}")
        self._own = archive and archive.resolve()
        name = folder.resolve().name
        good = usable(name) and parts_of(name) and not too_long([name], bounds)
        self.name = name if good else "package"
        _check_tops(folder)
        self._tops = [(top, folder / top) for top in _TOPS if (folder / top).is_dir()]
        self._real = {path.resolve(): PurePosixPath(self.name, top) for top, path in self._tops}
        self._real.setdefault(folder.resolve(), PurePosixPath(self.name))
        self.faults: list[str] = []
        self._deepest = bounds.depth

    def add_to(self, inventory: Inventory) -> list[Found]:
        """Add all members to ``inventory``, and return those to pack, in order.

        Raises:
            PackageRefused: naming every fault.
        """
        try:
            found = [each for each in self._found() if inventory.add(each.entry) is not None]
            inventory.finish()
        except PackageRefused as refused:
            raise PackageRefused([*self.faults, *refused.faults]) from refused
        for each in found:
            # The target of a link that leads nowhere may be made by the program.
            if each.entry.kind is Kind.LINK and _leads_somewhere(each.path):
                self._check_packed(each, inventory)
        if self.faults:
            raise PackageRefused(self.faults)
        return found

    def _check_packed(self, link: Found, inventory: Inventory) -> None:
        if not inventory.leads_to_member(link.entry.name):
            self.faults.append(f"{link.entry.name!r}: a link to what is not packed")

    def _found(self) -> Iterator[Found]:
        for top, path in self._tops:
            for directory, names, files in os.walk(path, onerror=self._unreadable):
                at = Path(directory)
                names[:] = sorted(name for name in names if not _is_left_out(at / name))
                below = at.relative_to(path)
                if len(below.parts) > self._deepest:
                    names.clear()  # named as too deep already; a walk may not go on for ever
                here = (PurePosixPath(self.name, top) / below).as_posix()
                yield Found(at, Entry(here, Kind.DIRECTORY))
                links = [name for name in names if (at / name).is_symlink()]
                for name in sorted([*files, *links]):
                    if not self._is_no_source(at, name, files):
                        yield from self._member(at / name, f"{here}/{name}")

    def _is_no_source(self, at: Path, name: str, beside: list[str]) -> bool:
        """Return whether it is made of what is packed: compiled code, or the last package.

        Compiled code without its source is a program of which there is nothing else.
        """
        if name.endswith(".pyc") and name.removesuffix("c") in beside:
            return True
        return (
            self._own is not None and name == self._own.name and (at / name).resolve() == self._own
        )

    def _member(self, path: Path, name: str) -> Iterator[Found]:
        try:
            status = path.lstat()
        except OSError as error:
            self._unreadable(error)
            return
        if stat.S_ISLNK(status.st_mode):
            yield Found(path, Entry(name, Kind.LINK, target=self._target(path, name)))
        elif stat.S_ISREG(status.st_mode):
            if not os.access(path, os.R_OK):
                self._fault(f"{name!r}: cannot be read")
            executable = bool(status.st_mode & 0o100)
            yield Found(path, Entry(name, Kind.FILE, status.st_size), executable)
        else:
            yield Found(path, Entry(name, Kind.OTHER))

    def _target(self, path: Path, name: str) -> str:
        """A link's target within the package; an absolute one is made relative if it is inside.

        What leads out is left as it is, for the rules to name.
        """
        target = str(path.readlink())
        if not target.startswith("/"):
            return target
        # Not Path.resolve(): it raises for links in a circle, which are the rules' to name.
        real = Path(os.path.realpath(path))
        for root, packed in self._real.items():
            if real.is_relative_to(root):
                inside = packed / real.relative_to(root)
                return os.path.relpath(inside, PurePosixPath(name).parent)
        return target

    def _unreadable(self, error: OSError) -> None:
        self._fault(f"{str(error.filename)!r}: cannot be read: {error.strerror}")

    def _fault(self, fault: str) -> None:
        self.faults.append(fault)
        if len(self.faults) >= MAX_FAULTS:
            raise PackageRefused([])


def _meant(folder: Path) -> str:
    """The advice for a folder that is none of a job, from what it holds."""
    if folder.name == "code":
        return f"; {str(folder.parent)!r} has one"
    if any(folder.glob("*.py")):
        return "; its programs belong there"
    below = sorted(path.name for path in islice(folder.glob("*"), _MAX_LOOKED_AT) if path.is_dir())
    named = next((name for name in below if name.lower() == "code"), None)
    if named:
        return f"; {named!r} is another name to Linux"
    job = next((name for name in below if (folder / name / "code").is_dir()), None)
    return f"; {str(folder / job)!r} has one" if job else ""


def _check_tops(folder: Path) -> None:
    """A linked folder on a disk that is not mounted would be missing without notice."""
    for top in (folder / name for name in _TOPS):
        if not top.is_dir() and (top.exists() or top.is_symlink()):
            why = f"a link to {top.readlink()}, which is not there" if top.is_symlink() else "none"
            raise PackageError(f"{str(top)!r} must be a folder: it is {why}")


def _is_left_out(directory: Path) -> bool:
    """Return whether it is of tools alone; a virtual environment fits no other machine."""
    if directory.name in LEFT_OUT:
        return True
    return any((directory / name).is_file() for name in OF_AN_ENVIRONMENT)


def _leads_somewhere(link: Path) -> bool:
    try:
        link.stat()
    except OSError:
        return False
    return True
