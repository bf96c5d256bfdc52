"""The format of a snapshot: state and stream offset in checksummed pieces.

Layout: 8 bytes of magic, the length of a JSON header and the header (offset, names and shapes of
arrays, names of earlier snapshots), then each array in pieces of 1 MiB, and SHA-256 of all that.
A piece is compressed by Zstandard, or says in which earlier snapshot the same piece lies: what has
not changed is not written again. Pieces are made one after the other from the state as it lies in
memory, which may be gigabytes, and no copy of it is made.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from shared.columns import Array
from shared.memory import memory_bytes

_MAGIC = b"BAROSN03"
_WHOLE, _UNCOMPRESSED = b"BAROSN02", b"BAROSN01"
"""The beginnings of earlier versions' snapshots, which are read: an ``.npz``, compressed or not."""
_LENGTH = struct.Struct("<Q")
_INLINE, _EARLIER = struct.Struct("<BI"), struct.Struct("<BBQI16s")
"""A piece: 0 and its length, or 1, the number of the earlier snapshot, place, length and digest."""
_DIGEST, _SHORT_DIGEST = 32, 16
_PIECE = 2**20
_MIN_SHARED_BYTES = 2**14
"""Smaller pieces are always written: to name another snapshot would gain little."""
_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
    MemoryError,
)
Bytes = bytes | memoryview


class DamagedSnapshotError(ValueError):
    """The bytes are not a snapshot that was written whole."""


class Place(NamedTuple):
    """The location of a piece in the snapshot of that name."""

    snapshot: str
    start: int
    length: int


@dataclass
class Written:
    """The pieces of a snapshot, by their digests."""

    pieces: dict[bytes, Place] = field(default_factory=dict)
    bytes: int = 0


def pack(offset: int, arrays: Mapping[str, Array]) -> bytes:
    """One snapshot as bytes, without earlier ones."""
    return b"".join(packed("", offset, arrays, {}, Written()))


def packed(
    name: str,
    offset: int,
    arrays: Mapping[str, Array],
    earlier: Mapping[bytes, Place],
    written: Written,
) -> Iterator[Bytes]:
    """A snapshot in parts, to be written one after the other.

    Args:
        name: its own.
        offset: of the last batch that is contained.
        arrays: the state, which must not change meanwhile.
        earlier: pieces of earlier snapshots that need not be written again.
        written: filled with the pieces of this snapshot.
    """
    snapshots = sorted({place.snapshot for place in earlier.values()})
    shapes = [[key, array.dtype.str, array.shape] for key, array in arrays.items()]
    header = json.dumps({"offset": offset, "arrays": shapes, "earlier": snapshots}).encode()
    digest = hashlib.sha256()
    codec = pa.Codec("zstd", compression_level=1)

    def made() -> Iterator[Bytes]:
        yield from (_MAGIC, _LENGTH.pack(len(header)), header)
        for array in arrays.values():
            for piece in _pieces(array):
                yield from _framed(piece, name, snapshots, earlier, written, codec)

    for part in made():
        digest.update(part)
        written.bytes += len(part)
        yield part
    written.bytes += _DIGEST
    yield digest.digest()


def _framed(
    piece: memoryview,
    name: str,
    snapshots: Sequence[str],
    earlier: Mapping[bytes, Place],
    written: Written,
    codec: pa.Codec,
) -> Iterator[Bytes]:
    shared = len(piece) >= _MIN_SHARED_BYTES
    key = hashlib.sha256(piece).digest()[:_SHORT_DIGEST] if shared else b""
    place = earlier.get(key) if shared else None
    if place is not None:
        written.pieces[key] = place
        number = snapshots.index(place.snapshot)
        yield _EARLIER.pack(1, number, place.start, place.length, key)
        return
    compressed = codec.compress(piece, asbytes=True)
    if shared:
        start = written.bytes + _INLINE.size
        written.pieces[key] = Place(name, start, len(compressed))
    yield _INLINE.pack(0, len(compressed))
    yield compressed


def _pieces(array: Array) -> Iterator[memoryview]:
    if array.size:
        whole = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for start in range(0, len(whole), _PIECE):
            yield whole[start : start + _PIECE]


def earlier_of(data: bytes) -> frozenset[str]:
    """Names of the snapshots that one needs beside itself."""
    if data[: len(_MAGIC)] != _MAGIC:
        return frozenset()
    try:
        return frozenset(map(str, _header(memoryview(data))[0]["earlier"]))
    except _UNREADABLE:
        return frozenset()


def unpack(data: bytes, read: Callable[[str], bytes] | None = None) -> tuple[int, dict[str, Array]]:
    """Offset and state; DamagedSnapshotError if anything was changed or cut off.

    Args:
        data: the snapshot.
        read: gives an earlier one by its name; None: there are none.
    """
    magic = data[: len(_MAGIC)]
    if magic in (_WHOLE, _UNCOMPRESSED):
        return _of_earlier_version(data)
    if magic != _MAGIC:
        raise DamagedSnapshotError("not a snapshot of this version (its first bytes differ)")
    body = memoryview(data)[:-_DIGEST]
    if hashlib.sha256(body).digest() != data[-_DIGEST:]:
        raise DamagedSnapshotError(f"checksum differs over {len(body)} bytes: damaged or cut off")
    try:
        header, at = _header(body)
        return int(header["offset"]), _Reader(body, at, header, read).arrays()
    except DamagedSnapshotError:
        raise
    except _UNREADABLE as error:
        raise DamagedSnapshotError(f"not readable: {error}") from error


def _header(body: memoryview) -> tuple[dict[str, Any], int]:
    """The header, and where the pieces begin."""
    start = len(_MAGIC) + _LENGTH.size
    (length,) = _LENGTH.unpack_from(body, len(_MAGIC))
    header: dict[str, Any] = json.loads(bytes(body[start : start + length]))
    return header, start + length


class _Reader:
    """Reads the pieces of one snapshot into arrays."""

    def __init__(
        self,
        body: memoryview,
        at: int,
        header: Mapping[str, Any],
        read: Callable[[str], bytes] | None,
    ) -> None:
        self._body, self._at, self._header = body, at, header
        self._read = read
        self._others: dict[str, memoryview] = {}
        self._codec = pa.Codec("zstd")

    def arrays(self) -> dict[str, Array]:
        made = [
            (str(key), np.dtype(str(kind)), tuple(map(int, shape)))
            for key, kind, shape in self._header["arrays"]
        ]
        size = sum(kind.itemsize * math.prod(shape) for _, kind, shape in made)
        if size > memory_bytes() or any(n < 0 for _, _, shape in made for n in shape):
            raise ValueError(f"{size} bytes when decompressed, more than this process may hold")
        return {key: self._array(kind, shape) for key, kind, shape in made}

    def _array(self, kind: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        if kind.hasobject:
            raise ValueError(f"no arrays of {kind}")
        array = np.empty(shape, dtype=kind)
        if array.size:
            whole = array.reshape(-1).view(np.uint8).data
            for start in range(0, len(whole), _PIECE):
                self._fill(whole[start : start + _PIECE])
        return array

    def _fill(self, piece: memoryview) -> None:
        if self._body[self._at] == 0:
            _, length = _INLINE.unpack_from(self._body, self._at)
            start = self._at + _INLINE.size
            self._at = start + length
            piece[:] = self._decompressed(self._body[start : self._at], len(piece))
            return
        _, number, start, length, key = _EARLIER.unpack_from(self._body, self._at)
        self._at += _EARLIER.size
        name = str(self._header["earlier"][number])
        data = self._decompressed(self._other(name)[start : start + length], len(piece))
        if hashlib.sha256(data).digest()[:_SHORT_DIGEST] != key:
            raise DamagedSnapshotError(f"a piece of it in {name} was changed")
        piece[:] = data

    def _decompressed(self, data: memoryview, size: int) -> bytes:
        return self._codec.decompress(data, size, asbytes=True)

    def _other(self, name: str) -> memoryview:
        if name not in self._others:
            if self._read is None:
                raise DamagedSnapshotError(f"it needs {name}, which is not there")
            self._others[name] = memoryview(self._read(name))
        return self._others[name]


# Formats of earlier versions


def _of_earlier_version(data: bytes) -> tuple[int, dict[str, Array]]:
    start = len(_MAGIC) + _DIGEST
    digest, body = data[len(_MAGIC) : start], memoryview(data)[start:]
    if hashlib.sha256(body).digest() != digest:
        raise DamagedSnapshotError(f"checksum differs over {len(body)} bytes: damaged or cut off")
    try:
        if data[: len(_MAGIC)] == _WHOLE:
            (length,) = _LENGTH.unpack_from(body)
            if length > memory_bytes():
                raise ValueError(f"{length} bytes, more than this process may hold")
            body = memoryview(pa.Codec("zstd").decompress(body[_LENGTH.size :], length))
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            # Entries are written uncompressed: a stranger's could be a thousand times larger.
            size = sum(entry.file_size for entry in archive.infolist())
        if size > len(body):
            raise ValueError(f"its entries have {size} bytes, in {len(body)}")
        with np.load(io.BytesIO(body), allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        offset = int(arrays.pop("offset"))
    except _UNREADABLE as error:
        raise DamagedSnapshotError(f"not readable: {error}") from error
    return offset, arrays
