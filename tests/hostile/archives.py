"""Archives as tests and attackers write them, member by member."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, data: bytes = b"x", **fields: object) -> Member:
    """A file; ``fields`` are set on its header as they are."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def special(name: str, kind: bytes, link: str = "") -> Member:
    """A member without contents."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def archive(path: Path, *members: Member) -> Path:
    """A tar.gz of these members."""
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def raw_archive(path: Path, *blocks: bytes) -> Path:
    """A gzip file of blocks that no tar program would write."""
    with gzip.open(path, "wb", 6) as zipped:
        for block in blocks:
            zipped.write(block)
        zipped.write(bytes(1024))
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One header block, whatever follows it."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


def padded(data: bytes) -> bytes:
    """Contents up to the next block."""
    return data + bytes(-len(data) % tarfile.BLOCKSIZE)


def pax_record(key: str, value: bytes) -> bytes:
    """One record of an extended header: its own length comes first."""
    record = f" {key}=".encode() + value + b"\n"
    length = len(record)
    while len(str(length)) + len(record) != length:
        length = len(str(length)) + len(record)
    return str(length).encode() + record
