"""Unpacking a package somebody else made: everything is checked before anything is written."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_MOST_FAULTS = 50
_MOST_AT_ONCE = 4 * 2**20


@dataclass(frozen=True)
class Bounds:
    """How much a package may hold. ``ratio`` is unpacked over packed size."""

    total_bytes: int = 20 * 2**30
    file_bytes: int = 10 * 2**30
    members: int = 200_000
    ratio: float = 200.0
    ratio_from_bytes: int = 64 * 2**20
    """The ratio is judged from this unpacked size on: small files of zeros are harmless."""
    path_length: int = 1000
    depth: int = 64


class PackageError(Exception):
    """A package cannot be made or read."""


class PackageRefused(PackageError):
    """A package is not safe or not well-formed; ``faults`` names what was found."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults[:_MOST_FAULTS]))
        self.faults = faults


def unpack(archive: Path, destination: Path, bounds: Bounds | None = None) -> None:
    """Unpack ``archive`` into the new directory ``destination``.

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
    _check(archive, limits)
    staging = Path(tempfile.mkdtemp(prefix=".unpack-", dir=destination.parent))
    try:
        with _opened(archive) as tar:
            for member in tar:
                _write(tar, member, staging)
        staging.chmod(0o755)
        staging.rename(destination)
    except (OSError, UnicodeError) as error:
        raise PackageRefused([f"cannot be unpacked: {error}"]) from error
    finally:
        if staging.exists():
            shutil.rmtree(staging)


class _ShortReads(gzip.GzipFile):
    """Refuses to read much at once: a header that claims gigabytes is an attack on memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or size > _MOST_AT_ONCE:
            raise PackageRefused(["a header larger than any real one"])
        return super().read(size)


# tarfile parses foreign headers with int() and slicing; what it lets through when they are
# nonsense is a matter of its version.
_BROKEN = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    RecursionError,
)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """The archive; whatever a broken one raises while it is read is a refusal."""
    try:
        with (
            _ShortReads(archive, "rb") as stream,
            tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as tar,
        ):
            yield tar
    except _BROKEN as error:
        text = str(error) or type(error).__name__
        raise PackageRefused([f"not a readable tar.gz: {text}"]) from error


def _check(archive: Path, limits: Bounds) -> None:
    packed = max(1, archive.stat().st_size)
    faults: list[str] = []
    kinds: dict[PurePosixPath, str] = {}
    total = 0
    with _opened(archive) as tar:
        for number, member in enumerate(tar):
            if number >= limits.members:
                raise PackageRefused([*faults, f"more than {limits.members} members"])
            total += max(0, member.size)
            faults += _faults(member, limits, kinds)
            if total > limits.total_bytes:
                raise PackageRefused([*faults, f"unpacks to more than {limits.total_bytes} bytes"])
            if total > limits.ratio_from_bytes and total / packed > limits.ratio:
                reason = f"unpacks to more than {limits.ratio:g} times its size"
                raise PackageRefused([*faults, reason])
            if len(faults) >= _MOST_FAULTS:
                break
    if not kinds and not faults:
        faults.append("empty")
    if faults:
        raise PackageRefused(faults)


def _faults(
    member: tarfile.TarInfo, limits: Bounds, kinds: dict[PurePosixPath, str]
) -> Iterator[str]:
    shown = repr(member.name[:200])
    path = PurePosixPath(member.name)
    if member.name.startswith("/") or path.is_absolute():
        yield f"{shown}: an absolute path"
    if ".." in path.parts:
        yield f"{shown}: leads out of the package"
    if not path.parts or not _usable(member.name):
        yield f"{shown}: not a usable name"
    if len(member.name) > limits.path_length or len(path.parts) > limits.depth:
        yield f"{shown}: too long or too deep"
    if member.size < 0 or member.size > limits.file_bytes:
        yield f"{shown}: larger than {limits.file_bytes} bytes"
    if member.issparse() or not (member.isreg() or member.isdir() or member.issym()):
        yield f"{shown}: neither a file, a directory nor a symbolic link"
    if any(kinds.get(parent) in ("link", "file") for parent in path.parents):
        yield f"{shown}: lies below a link or a file"
    if path in kinds and not (member.isdir() and kinds[path] == "directory"):
        yield f"{shown}: comes twice"
    if member.issym() and not _stays_inside(path, member.linkname):
        yield f"{shown}: a link that leads out of the package"
    kinds[path] = "link" if member.issym() else "directory" if member.isdir() else "file"


def _usable(name: str) -> bool:
    """Whether every file system takes it: no control characters, no half surrogates."""
    return not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def _stays_inside(path: PurePosixPath, target: str) -> bool:
    """Whether a link's target, read as text, stays below the package's first folder.

    Links may not pass through other links: those were refused as parents, and a target through
    one would leave what the text says, so at most one climb to the link's own depth is allowed.
    """
    if not target or target.startswith("/") or not _usable(target):
        return False
    depth = len(path.parts) - 1
    for part in PurePosixPath(target).parts:
        depth += -1 if part == ".." else 1
        if depth < 1:
            return False
    return True


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    target = root / PurePosixPath(member.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise PackageRefused([f"{member.name[:200]!r}: lies below a link"])
    if member.isdir():
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
    elif member.issym():
        target.symlink_to(member.linkname)
        if not target.resolve().is_relative_to(root.resolve()):
            raise PackageRefused([f"{member.name[:200]!r}: a link that leads out of the package"])
    else:
        source = tar.extractfile(member)
        if source is None:
            raise PackageRefused([f"{member.name[:200]!r}: has no contents"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        mode = 0o755 if member.mode & 0o100 else 0o644
        with source, os.fdopen(os.open(target, flags, mode), "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        target.chmod(mode)
