"""Reads an untrusted archive: forwards only, with bounded memory."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.packages.bounds import Bounds, PackageRefused
from shared.packages.forgetful import ForgetfulTar
from shared.packages.inventory import Entry, Inventory
from shared.packages.tree import Kind

_BLOCK = 1 << 16
_USTAR_AT = 257
_GZIP = b"\x1f\x8b"
_KINDS = (
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"]\x00\x00", "lzma"),
    (b"\x1f\x9d", "compress"),
    (b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the file)"),
    (b"<", "a page of the web"),
)

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
    AttributeError,
    TypeError,
    RecursionError,
)


class _Stream(gzip.GzipFile):
    """The bytes of the archive. ``tarfile`` reads headers from it, and seeks over contents."""

    def __init__(self, archive: Path, bounds: Bounds) -> None:
        super().__init__(archive, "rb")
        self._bounds = bounds
        self._header_left: int | None = bounds.header_bytes
        self.last = b""

    def begin_header(self) -> None:
        self._header_left = self._bounds.header_bytes

    def begin_contents(self) -> None:
        self._header_left = None

    def read(self, size: int | None = -1) -> bytes:
        if self._header_left is not None:
            if size is None or not 0 <= size <= self._header_left:
                raise PackageRefused(
                    [f"a header of more than {self._bounds.header_bytes >> 10} KiB"]
                )
            self._header_left -= size
        self.last = super().read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        # Going back means unpacking from the beginning: a few bytes would cost hours.
        if whence == os.SEEK_SET and offset < self.tell():
            raise PackageRefused(["damaged: one member is within another"])
        return super().seek(offset, whence)


class Archive:
    """The members of an archive, one after another; none is kept."""

    def __init__(self, stream: _Stream, tar: ForgetfulTar, bounds: Bounds) -> None:
        self._stream, self._tar, self._bounds = stream, tar, bounds

    def members(self, inventory: Inventory) -> Iterator[tuple[tarfile.TarInfo, Entry]]:
        """Each member, as ``inventory`` takes it.

        Raises:
            PackageRefused: as soon as going on would be of no use.
        """
        while True:
            # Contents are about to be passed over; that is work, too.
            inventory.reached(self._tar.offset)
            self._stream.begin_header()
            member = self._tar.next()
            self._check_global_headers()
            if member is None:
                break
            placed = inventory.add(_entry(member))
            inventory.reached(self._stream.tell())
            if placed is not None:
                yield member, placed
        if self._stream.last.strip(b"\0"):
            raise PackageRefused(
                [*inventory.faults, f"damaged: no member begins at byte {self._tar.offset}"]
            )

    def finish(self, inventory: Inventory) -> None:
        """Read what follows the last member, which must be zeros; so the check sum is seen, too.

        Raises:
            PackageRefused: when there is more, or what the archive yields is not what was packed.
        """
        self._stream.begin_contents()
        while block := self._stream.read(_BLOCK):
            inventory.reached(self._stream.tell())
            if block.strip(b"\0"):
                raise PackageRefused([*inventory.faults, "more follows behind its end"])

    def contents(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """The contents of a file, in pieces."""
        self._stream.begin_contents()
        source = self._tar.extractfile(member)
        if source is None:
            raise PackageRefused([f"{member.name[:200]!r}: has no contents"])
        with source:
            while block := source.read(_BLOCK):
                yield block

    def _check_global_headers(self) -> None:
        if len(self._tar.pax_headers) > self._bounds.global_headers:
            raise PackageRefused([f"more than {self._bounds.global_headers} global headers"])


_PROGRAMS = {".py", ".ipynb", ".sh"}
_JOB_FILES = {".yaml", ".yml", ".json"}


@contextmanager
def opened(path: Path, bounds: Bounds) -> Iterator[Archive]:
    """The archive; whatever a broken one raises while it is read is a refusal."""
    if path.suffix.lower() in _PROGRAMS:
        reason = f"{path.name} is a program, not a package: put it into FOLDER/code, give FOLDER"
        raise PackageRefused([reason])
    if path.suffix.lower() in _JOB_FILES:
        reason = f"{path.name} is a job's file, not a package: tshell submit FOLDER -f {path.name}"
        raise PackageRefused([reason])
    other = _other_kind(path)
    if other:
        raise PackageRefused([f"not a tar.gz but {other}: pack it with `tshell pack` or `tar czf`"])
    try:
        with (
            _Stream(path, bounds) as stream,
            ForgetfulTar(fileobj=stream, mode="r", errorlevel=2) as tar,
        ):
            yield Archive(stream, tar, bounds)
    except _BROKEN as error:
        text = str(error) or type(error).__name__
        raise PackageRefused([f"not a readable tar.gz: {text}"]) from error


def _other_kind(path: Path) -> str:
    """The kind of a file that is no tar.gz, where it is known."""
    with path.open("rb") as file:
        start = file.read(_USTAR_AT + 5)
    if start[_USTAR_AT:] == b"ustar" and not start.startswith(_GZIP):
        return "a tar that is not compressed"
    return next((name for magic, name in _KINDS if start.startswith(magic)), "")


def _entry(member: tarfile.TarInfo) -> Entry:
    if member.isdir():
        return Entry(member.name, Kind.DIRECTORY)
    if member.issym():
        return Entry(member.name, Kind.LINK, target=member.linkname)
    if member.islnk():
        return Entry(member.name, Kind.COPY, target=member.linkname)
    if member.isreg() and _whole(member):
        return Entry(member.name, Kind.FILE, member.size)
    return Entry(member.name, Kind.OTHER)


def _whole(member: tarfile.TarInfo) -> bool:
    """Return whether the pieces of a sparse file come in order and within it; others have none."""
    pieces: Iterable[tuple[int, int]] | None = getattr(member, "sparse", None)
    if pieces is None:
        return True
    # Empty ones only fill up a header, or say where the file ends.
    pieces = [(offset, size) for offset, size in pieces if size]
    setattr(member, "sparse", pieces)  # noqa: B010 - tarfile's type hints lack it
    end = 0
    for offset, size in pieces:
        if offset < end or size < 0:
            return False
        end = offset + size
    return end <= max(0, member.size)
