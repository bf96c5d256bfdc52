"""A series' labels as bytes in the form of remote write 1.0, from either version.

The references of 2.0 are written out that way first, so both messages find the same series.
Nothing is decoded here: text is looked at once, when a series is new.
"""

from __future__ import annotations

import numpy as np

from services.detector.gateway.wire import Bytes, Int, Places, read_field, read_number
from shared.compiled import allocation_free_kernel

# ruff: noqa: PLR2004 - the formats' field numbers and wire types, named in ``wire``
MAX_LABEL_BYTES = 131_072
"""One series has at most so many bytes of labels; more is a fault of that series."""

TOO_LONG, LOST = -1, -3
"""Instead of a length: the labels are too long; their references lead to no symbol."""

_APART = -1


@allocation_free_kernel
def _put_number(out: Bytes, at: Int, value: Int) -> Int:
    while value > 0x7F:
        out[at] = (value & 0x7F) | 0x80
        at += 1
        value >>= 7
    out[at] = value
    return at + 1


@allocation_free_kernel
def _length_of(value: Int) -> Int:
    """Bytes that a number takes."""
    count = 1
    while value > 0x7F:
        count += 1
        value >>= 7
    return count


@allocation_free_kernel
def _put_text(data: Bytes, start: Int, end: Int, field: Int, out: Bytes, at: Int) -> Int:
    out[at] = field << 3 | 2
    at = _put_number(out, at + 1, end - start)
    for k in range(start, end):
        out[at] = data[k]
        at += 1
    return at


@allocation_free_kernel
def _put_label(data: Bytes, symbols: Places, name: Int, value: Int, out: Bytes, at: Int) -> Int:
    """One label of two symbols, as 1.0 writes it; where it ends, or -1 when there is no room."""
    named = symbols.ends[name] - symbols.starts[name]
    valued = symbols.ends[value] - symbols.starts[value]
    inside = 2 + _length_of(named) + named + _length_of(valued) + valued
    if at + 1 + _length_of(inside) + inside > len(out):
        return np.int64(-1)
    out[at] = 1 << 3 | 2
    at = _put_number(out, at + 1, inside)
    at = _put_text(data, symbols.starts[name], symbols.ends[name], 1, out, at)
    return np.int64(_put_text(data, symbols.starts[value], symbols.ends[value], 2, out, at))


@allocation_free_kernel
def one_piece(data: Bytes, at: Int, end: Int) -> Int:
    """The end of a 1.0 series' labels if they are together at its front; otherwise -1."""
    last = at
    apart = False
    while at < end:
        number, wire, _, at = read_field(data, at, end)
        if number != 1 or wire != 2:
            apart = True
        elif apart:
            return np.int64(_APART)
        else:
            last = at
    return np.int64(last)


@allocation_free_kernel
def labels_1(data: Bytes, at: Int, end: Int, out: Bytes) -> Int:
    """Write the labels of a 1.0 series together to ``out``; their length, or TOO_LONG."""
    length = np.int64(0)
    while at < end:
        begin = at
        number, wire, _, at = read_field(data, at, end)
        if number != 1 or wire != 2:
            continue
        if length + at - begin > len(out):
            return np.int64(TOO_LONG)
        for k in range(begin, at):
            out[length] = data[k]
            length += 1
    return length


@allocation_free_kernel
def labels_2(data: Bytes, at: Int, end: Int, symbols: Places, out: Bytes) -> Int:
    """The same of a 2.0 series; LOST also for a name without a value."""
    length: Int = np.int64(0)
    name = np.int64(-1)
    while at < end:
        number, wire, start, at = read_field(data, at, end)
        if number != 1 or wire not in (0, 2):
            continue
        # Packed as a rule; a number a field is the same to protobuf.
        while start < at:
            reference, start = read_number(data, start, at)
            if start < 0 or reference >= np.uint64(len(symbols.starts)):
                return np.int64(LOST)
            symbol = np.int64(reference)
            if name < 0:
                name = symbol
                continue
            length = _put_label(data, symbols, name, symbol, out, length)
            if length < 0:
                return np.int64(TOO_LONG)
            name = np.int64(-1)
    return length if name < 0 else np.int64(LOST)
