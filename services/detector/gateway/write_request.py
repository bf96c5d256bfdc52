"""Encodes series as a remote-write 1.0 request, for input in other formats."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_BYTES, _DOUBLE, _VARINT = 2, 1, 0
_CONTINUES = 0x80
_STALE = struct.pack("<Q", 0x7FF0000000000002)
"""Prometheus' mark of a series that has ended."""


def series(labels: Mapping[str, str], time_ms: int, value: float | None) -> bytes:
    """One series with one sample: Unix milliseconds, value (None: the series has ended)."""
    pairs = (
        _field(1, _field(1, name.encode()) + _field(2, text.encode()))
        for name, text in sorted(labels.items())
    )
    number = _STALE if value is None else struct.pack("<d", value)
    sample = bytes([1 << 3 | _DOUBLE]) + number + bytes([2 << 3 | _VARINT]) + _varint(time_ms)
    return _field(1, b"".join(pairs) + _field(2, sample))


def text_field(number: int, text: str) -> bytes:
    """A field of text."""
    return _field(number, text.encode())


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _CONTINUES:
        out.append(number & (_CONTINUES - 1) | _CONTINUES)
        number >>= 7
    out.append(number)
    return bytes(out)
