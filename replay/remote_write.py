"""A remote-write request (protocol 1.0), as Prometheus would send it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import cramjam

Series = tuple[Mapping[str, str], Iterable[tuple[int, float]]]
"""Labels, ``__name__`` among them, and (Unix milliseconds, value) in order of time."""

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_CONTINUES = 0x80


def request(series: Iterable[Series]) -> bytes:
    """The body, compressed."""
    body = b"".join(_field(1, _labels(labels) + _samples(samples)) for labels, samples in series)
    return bytes(cramjam.snappy.compress_raw(body))


def _labels(labels: Mapping[str, str]) -> bytes:
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, text.encode()))
        for name, text in sorted(labels.items())
    )


def _samples(samples: Iterable[tuple[int, float]]) -> bytes:
    return b"".join(
        _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _number(time_ms))
        for time_ms, value in samples
    )


def _field(tag: int, body: bytes) -> bytes:
    return _number(tag << 3 | 2) + _number(len(body)) + body


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= _CONTINUES:
        out.append(value % _CONTINUES | _CONTINUES)
        value //= _CONTINUES
    return bytes([*out, value])
