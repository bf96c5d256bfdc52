"""Packing ``<name>/code`` and ``<name>/data``: equal contents give equal bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.packages.unpack import PackageError

_LEFT_OUT = {"__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Packed:
    """A package file; its address is its digest. ``size`` in bytes."""

    path: Path
    sha256: str
    size: int
    files: int

    @property
    def key(self) -> str:
        """Its key in the object store."""
        return f"packages/{self.sha256}.tar.gz"


def pack(folder: Path, archive: Path) -> Packed:
    """Pack ``folder``, which holds ``code`` and maybe ``data``, into ``archive``.

    Owners, times and the order of the file system leave no trace, so the digest names the
    contents.

    Raises:
        PackageError: when there is no code, or a file cannot go into a package; names them all.
    """
    if not (folder / "code").is_dir():
        raise PackageError(f"{folder} has no folder 'code'")
    faults: list[str] = []
    members = list(_members(folder, faults))
    if faults:
        raise PackageError("; ".join(faults))
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="", compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, name in members:
            _add(tar, path, name)
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    files = sum(path.is_file() for path, _ in members)
    return Packed(archive, digest.hexdigest(), archive.stat().st_size, files)


def _members(folder: Path, faults: list[str]) -> Iterator[tuple[Path, str]]:
    root = folder.resolve()
    for top in ("code", "data"):
        if not (folder / top).is_dir():
            continue
        for directory, names, files in os.walk(folder / top):
            names[:] = sorted(n for n in names if n not in _LEFT_OUT)
            here = Path(directory)
            yield here, f"{folder.resolve().name}/{here.relative_to(folder).as_posix()}"
            links = [n for n in names if (here / n).is_symlink()]
            for name in sorted([*files, *links]):
                path = here / name
                relative = path.relative_to(folder).as_posix()
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    faults.append(f"{relative} is a link that leads out of the package")
                elif not (path.is_file() or path.is_dir()):
                    faults.append(f"{relative} is neither a file nor a directory")
                elif not name.endswith(".pyc"):
                    yield path, f"{folder.resolve().name}/{relative}"


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    info = tar.gettarinfo(str(path), arcname=name)
    if info.islnk():
        # Hard links of the file system are of no meaning in a package.
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
    info.pax_headers = {}
    if info.isreg():
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        tar.addfile(info)
