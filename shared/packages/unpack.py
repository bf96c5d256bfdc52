"""Unpacks an untrusted package: everything is checked before anything is written."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from shared import trees
from shared.packages.bounds import Bounds, PackageError, PackageRefused
from shared.packages.inventory import Entry, Inventory
from shared.packages.reading import Archive, opened
from shared.packages.tree import Kind


def inspect(archive: Path, bounds: Bounds | None = None) -> Inventory:
    """Check every member of ``archive``; nothing is written.

    Raises:
        PackageRefused: naming every fault.
    """
    limits = bounds or Bounds()
    inventory = Inventory(limits, archive.stat().st_size)
    with opened(archive, limits) as members:
        for _ in members.members(inventory):
            pass
        members.finish(inventory)
    inventory.finish()
    return inventory


def unpack(archive: Path, destination: Path, bounds: Bounds | None = None) -> Inventory:
    """Unpack ``archive`` into the new directory ``destination``, and return its inventory.

    Absolute paths, ``..``, links that lead out, devices, members below links, bombs and broken
    archives are refused, and then nothing is left. Modes are made sane; owners are ours.

    Raises:
        PackageRefused: naming every fault.
        PackageError: when ``destination`` exists.
    """
    limits = bounds or Bounds()
    if destination.exists():
        raise PackageError(f"{destination} exists already")
    destination.parent.mkdir(parents=True, exist_ok=True)
    inspect(archive, limits)
    staging = Path(tempfile.mkdtemp(prefix=".unpack-", dir=destination.parent))
    try:
        # Checked again, because the file may have changed since the first pass.
        inventory = Inventory(limits, archive.stat().st_size)
        with opened(archive, limits) as members:
            _write_all(members, inventory, staging)
        inventory.finish()
        staging.chmod(0o755)
        staging.rename(destination)
    except (OSError, UnicodeError) as error:
        raise PackageRefused([f"cannot be unpacked: {error}"]) from error
    finally:
        if staging.exists():
            trees.delete(staging)
    return inventory


def _write_all(members: Archive, inventory: Inventory, root: Path) -> None:
    """Links come last: until then no path below ``root`` goes through one."""
    links: list[Entry] = []
    for member, entry in members.members(inventory):
        if entry.kind is Kind.LINK:
            links.append(entry)
        else:
            _write(members, member, entry, root)
    for entry in links:
        target = root / entry.name
        _directory(target.parent)
        target.symlink_to(entry.target)


def _write(members: Archive, member: tarfile.TarInfo, entry: Entry, root: Path) -> None:
    target = root / entry.name
    if entry.kind is Kind.DIRECTORY:
        _directory(target)
        return
    _directory(target.parent)
    if entry.kind is Kind.COPY:
        shutil.copy(root / entry.target, target, follow_symlinks=False)
    else:
        mode = 0o755 if member.mode & 0o100 else 0o644
        _write_file(target, mode, members.contents(member))


def _write_file(target: Path, mode: int, pieces: Iterable[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(target, flags, mode), "wb") as file:
        for piece in pieces:
            file.write(piece)
        os.fchmod(file.fileno(), mode)


def _directory(path: Path) -> None:
    """Make a directory and those above it, open to whom the program runs as."""
    try:
        path.mkdir()
    except FileExistsError:
        return
    except FileNotFoundError:
        _directory(path.parent)
        path.mkdir()
    path.chmod(0o755)
