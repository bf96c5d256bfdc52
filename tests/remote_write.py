"""Remote-write requests, written by other code than what reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import cramjam

Labels = Mapping[str, str] | Sequence[tuple[str, str]]
Series = tuple[Labels, Sequence[tuple[int, float]]]

NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
STALE_BITS = 0x7FF0000000000002
V1 = "application/x-protobuf"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"


def number(value: int) -> bytes:
    """A varint; negative ones as protobuf's int64."""
    value %= 2**64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(tag: int, body: bytes) -> bytes:
    """A length-delimited field."""
    return number(tag << 3 | 2) + number(len(body)) + body


def sample(time_ms: int, value: float) -> bytes:
    """A sample; an int is taken for the bits of a double."""
    bits = struct.pack("<Q", value) if isinstance(value, int) else struct.pack("<d", value)
    return field(2, b"\x09" + bits + b"\x10" + number(time_ms))


def pairs(labels: Labels) -> list[tuple[str, str]]:
    return list(labels.items() if isinstance(labels, Mapping) else labels)


def request_1(*series: Series, more: bytes = b"") -> bytes:
    """``prometheus.WriteRequest``; ``more`` is put into every series."""
    out = b""
    for labels, samples in series:
        body = b"".join(
            field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in pairs(labels)
        )
        out += field(1, body + b"".join(sample(*one) for one in samples) + more)
    return out


def request_2(*series: Series, more: bytes = b"", packed: bool = True) -> bytes:
    """``io.prometheus.write.v2.Request``."""
    symbols: dict[str, int] = {"": 0}
    body = b""
    for labels, samples in series:
        texts = [text for pair in pairs(labels) for text in pair]
        references = [number(symbols.setdefault(text, len(symbols))) for text in texts]
        if packed:
            written = field(1, b"".join(references))
        else:
            written = b"".join(b"\x08" + reference for reference in references)
        body += field(5, written + b"".join(sample(*one) for one in samples) + more)
    return b"".join(field(4, symbol.encode()) for symbol in symbols) + body


def compressed(raw: bytes, encoding: str = "snappy") -> bytes:
    codec = cramjam.zstd.compress if encoding == "zstd" else cramjam.snappy.compress_raw
    return bytes(codec(raw))
