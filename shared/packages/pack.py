"""Packing ``<name>/code`` and ``<name>/data``: equal contents give equal bytes."""

from __future__ import annotations

import gzip
import hashlib
import secrets
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.packages.bounds import Bounds, PackageError
from shared.packages.folder import Folder, Found
from shared.packages.forgetful import ForgetfulTar
from shared.packages.inventory import Inventory
from shared.packages.tree import Kind

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
}


@dataclass(frozen=True)
class Packed:
    """A package file; its address is its digest. ``size`` in bytes."""

    path: Path
    sha256: str
    size: int
    files: int

    @property
    def key(self) -> str:
        """The package's key in the object store."""
        return f"packages/{self.sha256}.tar.gz"


def pack(folder: Path, archive: Path, bounds: Bounds | None = None) -> Packed:
    """Pack ``folder``, which holds ``code`` and maybe ``data``, into ``archive``.

    Owners, times and the order of the file system leave no trace, so the digest names the
    contents. What is packed passes the rules of unpacking.

    Raises:
        PackageRefused: when something cannot go into a package; names all of it.
        PackageError: when there is no code, or a file changed meanwhile.
    """
    limits = bounds or Bounds()
    inventory = Inventory(limits)
    _check_target(archive)
    members = Folder(folder, limits, archive).add_to(inventory)
    inventory.reached(0)
    # Beside it, so that what was there before stays until the new one is whole.
    partial = archive.with_name(f".{archive.name[:200]}.{secrets.token_hex(4)}.partial")
    try:
        stream = _write(partial, members)
        size = partial.stat().st_size
        inventory.packed_to(size, stream)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        partial.replace(archive)
    except OSError as error:
        raise PackageError(f"cannot be packed: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    files = sum(member.entry.kind is not Kind.DIRECTORY for member in members)
    return Packed(archive, digest, size, files)


def _check_target(archive: Path) -> None:
    """A pipe or a device is no place for it: it is read again, and moved to its name."""
    if archive.exists() and not archive.is_file():
        raise PackageError(f"{archive} is no file that a package could be written to")


def _write(archive: Path, members: Sequence[Found]) -> int:
    """Write the archive; the bytes before compression."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="", compresslevel=6) as zipped,
    ):
        with ForgetfulTar(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for member in members:
                _add(tar, member)
        return zipped.tell()


def _add(tar: tarfile.TarFile, member: Found) -> None:
    entry = member.entry
    info = tarfile.TarInfo(entry.name)
    info.type = _TYPES[entry.kind]
    info.linkname = entry.target
    info.mode = 0o755 if entry.kind is Kind.DIRECTORY or member.executable else 0o644
    if entry.kind is not Kind.FILE:
        tar.addfile(info)
        return
    info.size = entry.size
    with member.path.open("rb") as file:
        try:
            tar.addfile(info, file)
        except OSError as error:
            if error.errno is not None:
                raise  # of the disk, not tarfile's own for a file that ends early
            text = f"{entry.name!r} changed while it was packed: pack it when it is at rest"
            raise PackageError(text) from error
