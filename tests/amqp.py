"""Messages as a stranger may publish them: header tables with every type AMQP has, written raw.

pika writes only what Python has a type for, so these are put together byte by byte.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from pika import BasicProperties

_HEADERS, _DELIVERY_MODE, _MESSAGE_ID = 1 << 13, 1 << 12, 1 << 7


def short_string(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def sized(kind: bytes, content: bytes) -> bytes:
    """A text, byte array, array or table."""
    return kind + struct.pack(">I", len(content)) + content


def fields(named: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The inside of a table: names, each with an encoded value."""
    return b"".join(short_string(name) + value for name, value in named)


class RawProperties:
    """What pika takes for properties, with a header table of any bytes."""

    INDEX = BasicProperties.INDEX

    def __init__(self, table: bytes, message_id: bytes = b"stranger") -> None:
        self._table, self._message_id = table, message_id
        self.headers: dict[str, Any] = {}

    def encode(self) -> list[bytes]:
        flags = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID
        table = struct.pack(">I", len(self._table)) + self._table
        return [struct.pack(">H", flags), table, b"\x02", short_string(self._message_id)]


def timestamp(seconds: int) -> bytes:
    return b"T" + struct.pack(">Q", seconds)


def text(value: str) -> bytes:
    return sized(b"S", value.encode())


def _packed(kind: str, layout: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: kind.encode() + struct.pack(layout, value))


def _whole(kind: str, layout: str, bits: int, *, signed: bool) -> st.SearchStrategy[bytes]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return _packed(kind, layout, st.integers(low, high) | st.sampled_from([low, high]))


SCALARS = st.one_of(
    st.booleans().map(lambda value: b"t" + bytes([value])),
    _whole("b", ">b", 8, signed=True),
    _whole("B", ">B", 8, signed=False),
    _whole("s", ">h", 16, signed=True),
    _whole("u", ">H", 16, signed=False),
    _whole("I", ">i", 32, signed=True),
    _whole("i", ">I", 32, signed=False),
    _whole("l", ">q", 64, signed=True),
    _whole("T", ">Q", 64, signed=False),
    _packed("f", ">f", st.floats(width=32)),
    _packed("d", ">d", st.floats()),
    st.tuples(st.integers(0, 255), st.integers(-(2**31), 2**31 - 1)).map(
        lambda value: b"D" + struct.pack(">Bi", *value)
    ),
    st.binary(max_size=300).map(lambda value: sized(b"S", value)),
    st.binary(max_size=300).map(lambda value: sized(b"x", value)),
    st.just(b"V"),
)
"""One encoded value of each type that holds no others."""

NAMES = st.one_of(
    st.binary(max_size=255),
    st.sampled_from(
        [
            *(b"cloudEvents_id", b"cloudEvents_type", b"cloudEvents_source"),
            *(b"cloudEvents_subject", b"traceparent", b"x-attempt", b"x-delivery-count"),
            *(b"x-original-routing-key", b"x-original-exchange", b"x-death", b"content-type"),
            *(b"x-reason", b"CC", b"x-headers-left-out", b"x-acquired-count"),
        ]
    ),
)
"""Names of headers, those that the platform reads among them."""

VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda values: sized(b"A", b"".join(values))),
        st.lists(st.tuples(NAMES, inner), max_size=4).map(lambda v: sized(b"F", fields(v))),
    ),
    max_leaves=12,
)
TABLES = st.lists(st.tuples(NAMES, VALUES), max_size=12).map(fields)
"""The inside of any header table that is well formed."""
