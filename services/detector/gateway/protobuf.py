"""Decodes a series' labels by hand, within limits, once per series (see ``wire``)."""

from __future__ import annotations

from collections.abc import Iterator

from shared.samples import InvalidBatch

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CONTINUES = 0x80
"""Set in every byte of a number but its last."""
_LONGEST_SHIFT = 63
_MIN_TAG = 1 << 3

_LABELS_FIELD = 1
_NAME_FIELD, _TEXT_FIELD = 1, 2
_TAG_1, _TAG_2 = 1 << 3 | _BYTES, 2 << 3 | _BYTES


def read_number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The variable-length number at ``at``, and where the next field begins."""
    result = shift = 0
    while True:
        if at >= end or shift > _LONGEST_SHIFT:
            raise InvalidBatch([f"a number is cut off at byte {at}"])
        byte = data[at]
        at += 1
        result |= (byte & (_CONTINUES - 1)) << shift
        if byte < _CONTINUES:
            return result, at
        shift += 7


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, end) of every field between ``at`` and ``end``."""
    while at < end:
        tag, start = read_number(data, at, end)
        wire = tag & 7
        if wire == _BYTES:
            length, start = read_number(data, start, end)
            at = start + length
        elif wire == _FIXED64:
            at = start + 8
        elif wire == _VARINT:
            _, at = read_number(data, start, end)
        elif wire == _FIXED32:
            at = start + 4
        else:
            raise InvalidBatch([f"unknown wire type {wire} at byte {start}"])
        if at > end or tag < _MIN_TAG:
            raise InvalidBatch([f"a field is cut off at byte {start}"])
        yield tag >> 3, wire, start, at


def pairs_of(encoded: bytes) -> list[tuple[str, str]]:
    """Name and value of each of a series' encoded labels, as they come.

    UnicodeDecodeError when they are not text, InvalidBatch when they are damaged.
    """
    pairs = _plain_pairs(encoded)
    return [label_of(label) for label in labels_of(encoded)] if pairs is None else pairs


def _plain_pairs(encoded: bytes) -> list[tuple[str, str]] | None:
    """The same of labels written the usual way, several times as fast; None: they are not.

    That is name before value, neither empty, every length below 128 and so one byte.
    """
    pairs = []
    at, end = 0, len(encoded)
    while at < end:
        name = at + 4
        head = encoded[at:name]
        if len(head) < name - at or head[0] != _TAG_1 or head[2] != _TAG_1:
            return None
        value = name + head[3] + 2
        middle = encoded[value - 2 : value]
        if value > end or middle[0] != _TAG_2:
            return None
        stop = value + middle[1]
        if stop > end or stop - at - 2 != head[1] or max(*head, middle[1]) >= _CONTINUES:
            return None
        pairs.append((encoded[name : value - 2].decode(), encoded[value:stop].decode()))
        at = stop
    return pairs


def labels_of(encoded: bytes) -> Iterator[bytes]:
    """Each label of a series' encoded labels."""
    for number, wire, start, end in fields(encoded, 0, len(encoded)):
        if number == _LABELS_FIELD and wire == _BYTES:
            yield encoded[start:end]


def label_of(encoded: bytes) -> tuple[str, str]:
    """Name and value of one label; UnicodeDecodeError when they are not text."""
    name = value = ""
    for number, wire, start, end in fields(encoded, 0, len(encoded)):
        if wire == _BYTES and number == _NAME_FIELD:
            name = encoded[start:end].decode()
        elif wire == _BYTES and number == _TEXT_FIELD:
            value = encoded[start:end].decode()
    return name, value
