"""Prometheus' ``WriteRequest`` (remote write 1.0), read by hand within bounds.

Only what is needed: ``timeseries`` (1) with ``labels`` (1: name 1, value 2) and ``samples``
(2: value 1 as double, timestamp 2 as int64). Everything else (metadata, exemplars, histograms) is
skipped by its wire type. A damaged message is an InvalidBatch that says where.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from shared.samples import InvalidBatch

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DOUBLE = struct.Struct("<d")
_WORD, _SIGN = 1 << 64, 1 << 63
_MORE = 0x80
"""Set in every byte of a number but its last."""
_LONGEST_SHIFT = 63
_LEAST_TAG = 1 << 3

_SERIES_FIELD = 1
_LABELS_FIELD, _SAMPLES_FIELD = 1, 2
_VALUE_FIELD, _TIME_FIELD = 1, 2
_NAME_FIELD, _TEXT_FIELD = 1, 2

Labels = tuple[bytes, ...]
"""The labels of a series as they came, each an encoded name and value."""
Samples = list[tuple[int, float]]


def read_number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The variable-length number at ``at``, and where the next field begins."""
    result = shift = 0
    while True:
        if at >= end or shift > _LONGEST_SHIFT:
            raise InvalidBatch([f"a number is cut off at byte {at}"])
        byte = data[at]
        at += 1
        result |= (byte & (_MORE - 1)) << shift
        if byte < _MORE:
            return result, at
        shift += 7


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, end) of every field between ``at`` and ``end``."""
    while at < end:
        # Almost every tag and length is one byte.
        tag = data[at]
        at += 1
        if tag >= _MORE:
            tag, at = read_number(data, at - 1, end)
        wire = tag & 7
        start = at
        if wire == _BYTES:
            length, start = read_number(data, at, end)
            at = start + length
        elif wire == _FIXED64:
            at += 8
        elif wire == _VARINT:
            _, at = read_number(data, at, end)
        elif wire == _FIXED32:
            at += 4
        else:
            raise InvalidBatch([f"not a WriteRequest: unknown wire type {wire} at byte {start}"])
        if at > end or tag < _LEAST_TAG:
            raise InvalidBatch([f"not a WriteRequest: a field is cut off at byte {start}"])
        yield tag >> 3, wire, start, at


def series_of(data: bytes) -> Iterator[tuple[Labels, Samples]]:
    """Every time series of a request: its encoded labels and its (time_ms, value) samples."""
    for number, wire, start, end in fields(data, 0, len(data)):
        if number == _SERIES_FIELD and wire == _BYTES:
            yield _one_series(data, start, end)


def _one_series(data: bytes, at: int, end: int) -> tuple[Labels, Samples]:
    labels: list[bytes] = []
    samples: Samples = []
    for number, wire, start, stop in fields(data, at, end):
        if wire != _BYTES:
            continue
        if number == _LABELS_FIELD:
            labels.append(data[start:stop])
        elif number == _SAMPLES_FIELD:
            samples.append(_sample(data, start, stop))
    return tuple(labels), samples


def _sample(data: bytes, at: int, end: int) -> tuple[int, float]:
    time_ms, value = 0, 0.0
    for number, wire, start, _ in fields(data, at, end):
        if number == _VALUE_FIELD and wire == _FIXED64:
            value = _DOUBLE.unpack_from(data, start)[0]
        elif number == _TIME_FIELD and wire == _VARINT:
            time_ms, _ = read_number(data, start, end)
            time_ms = time_ms - _WORD if time_ms >= _SIGN else time_ms
    return time_ms, value


def label_of(encoded: bytes) -> tuple[str, str]:
    """Name and value of one label; UnicodeDecodeError when they are not text."""
    name = value = ""
    for number, wire, start, end in fields(encoded, 0, len(encoded)):
        if wire == _BYTES and number == _NAME_FIELD:
            name = encoded[start:end].decode()
        elif wire == _BYTES and number == _TEXT_FIELD:
            value = encoded[start:end].decode()
    return name, value
