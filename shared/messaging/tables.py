"""Decodes AMQP header tables and short strings from any sender.

pika's own decoder raises for a timestamp after the year 9999, a number that is none, a nesting
deeper than Python's stack and a type it does not know. It does so inside the connection, which
ends, and the broker hands the same message out again on the next one: nothing after it is ever
read. This decoder gives something for every sequence of bytes, and takes pika's place when this
module is imported.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika.data

_MAX_DEPTH = 16
"""Tables and arrays nested deeper than this are read as None: their length is known."""

_LENGTH = struct.Struct(">I")
_DECIMAL = struct.Struct(">Bi")
_FIXED = {
    ord(kind): struct.Struct(layout)
    for kind, layout in {
        "b": ">b",
        "B": ">B",
        "U": ">h",
        "u": ">H",
        "s": ">h",
        "I": ">i",
        "i": ">I",
        "L": ">q",
        "l": ">q",
        "f": ">f",
        "d": ">d",
    }.items()
}
_TRUTH, _TIME = struct.Struct(">?"), struct.Struct(">Q")


class _UnreadableError(Exception):
    """The position of the next value cannot be determined."""


def decode_table(encoded: bytes, offset: int) -> tuple[dict[Any, Any], int]:
    """The table at ``offset`` and the offset after it; what cannot be read of it is left out."""
    if offset + _LENGTH.size > len(encoded):
        return {}, len(encoded)
    begin = offset + _LENGTH.size
    end = begin + _LENGTH.unpack_from(encoded, offset)[0]
    return _table(encoded, begin, min(end, len(encoded)), 0), end


def decode_short_string(encoded: bytes, offset: int) -> tuple[str, int]:
    """The short string at ``offset``; always text, whatever its bytes are."""
    end = offset + 1 + encoded[offset]
    return encoded[offset + 1 : end].decode("utf-8", "replace"), end


def _table(encoded: bytes, offset: int, end: int, depth: int) -> dict[Any, Any]:
    table: dict[Any, Any] = {}
    try:
        while offset < end:
            name, offset = decode_short_string(encoded, offset)
            table[name], offset = _value(encoded, offset, end, depth)
    except _UnreadableError:
        pass
    return table


def _array(encoded: bytes, offset: int, end: int, depth: int) -> list[Any]:
    values: list[Any] = []
    try:
        while offset < end:
            value, offset = _value(encoded, offset, end, depth)
            values.append(value)
    except _UnreadableError:
        pass
    return values


def _value(encoded: bytes, offset: int, end: int, depth: int) -> tuple[Any, int]:
    if offset >= end:
        raise _UnreadableError
    kind, offset = encoded[offset], offset + 1
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return _unpacked(fixed, encoded, offset, end)[0], offset + fixed.size
    match chr(kind):
        case "S" | "x" | "A" | "F":
            (length,) = _unpacked(_LENGTH, encoded, offset, end)
            begin = offset + _LENGTH.size
            if begin + length > end:
                raise _UnreadableError
            return _sized(chr(kind), encoded, begin, begin + length, depth), begin + length
        case "t":
            return _unpacked(_TRUTH, encoded, offset, end)[0], offset + _TRUTH.size
        case "T":
            (seconds,) = _unpacked(_TIME, encoded, offset, end)
            return _moment(seconds), offset + _TIME.size
        case "D":
            places, digits = _unpacked(_DECIMAL, encoded, offset, end)
            return Decimal(digits).scaleb(-places), offset + _DECIMAL.size
        case "V":
            return None, offset
    raise _UnreadableError


def _unpacked(layout: struct.Struct, encoded: bytes, offset: int, end: int) -> tuple[Any, ...]:
    if offset + layout.size > end:
        raise _UnreadableError
    return layout.unpack_from(encoded, offset)


def _sized(kind: str, encoded: bytes, begin: int, end: int, depth: int) -> Any:
    """A value that carries its own length: text, bytes, an array or a table."""
    if kind == "S":
        text = encoded[begin:end]
        try:
            return text.decode()
        except UnicodeDecodeError:
            return text
    if kind == "x":
        return encoded[begin:end]
    if depth >= _MAX_DEPTH:
        return None
    inner = _array if kind == "A" else _table
    return inner(encoded, begin, end, depth + 1)


def _moment(seconds: int) -> datetime | int:
    """The time, or the number of seconds where the calendar has no such time."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return seconds


# pika looks both up in its module each time, and offers no other place to say which to use.
pika.data.decode_table = decode_table
pika.data.decode_short_string = decode_short_string
