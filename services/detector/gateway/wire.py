"""Locates the fields of a remote-write request in its protobuf bytes, in machine code.

Both messages are read by hand, field by field:

- 1.0 ``prometheus.WriteRequest``: timeseries 1 {label 1 {name 1, value 2}, sample 2, histogram 4};
- 2.0 ``io.prometheus.write.v2.Request``: symbols 4, timeseries 5 {label refs 1, sample 2,
  histogram 3, metadata 5 {type 1}};
- both with sample {value 1 as double, timestamp 2 as int64}.

Everything else (exemplars, created timestamps) is skipped by its wire type. ``series_labels``
writes a series' labels in one form, ``series_table`` finds the series by them, and
``request_reader`` goes through a request with both.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.compiled import allocation_free_kernel

# ruff: noqa: PLR2004 - the formats' field numbers and wire types, named in the text above
Bytes: TypeAlias = NDArray[np.uint8]
Longs: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]
Word: TypeAlias = np.uint64
Int: TypeAlias = int | np.int64

_CUT_OFF = -1


class Places(NamedTuple):
    """The positions of one field number in a request: symbols in 2.0, metadata in 1.0."""

    starts: Longs
    ends: Longs


class Sizes(NamedTuple):
    """The number of elements of each kind in a request."""

    series: int
    samples: int
    histograms: int
    symbols: int
    metadata: int
    """Pieces of metadata in a request of 1.0, series in one of 2.0."""
    labels: int


@allocation_free_kernel
def read_number(data: Bytes, at: Int, end: Int) -> tuple[Word, Int]:
    """The variable-length number at ``at`` and where it ends; -1 there when it is cut off."""
    result = np.uint64(0)
    shift = np.uint64(0)
    while at < end and shift <= np.uint64(63):
        byte = np.uint64(data[at])
        at += 1
        result |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return result, at
        shift += np.uint64(7)
    return result, _CUT_OFF


@allocation_free_kernel
def read_field(data: Bytes, at: Int, end: Int) -> tuple[Int, Int, Int, Int]:
    """(field number, wire type, start, end) of the field at ``at``; end -1: damaged there."""
    tag, start = read_number(data, at, end)
    if start < 0:
        return np.int64(0), np.int64(0), np.int64(at), np.int64(-1)
    number, wire = np.int64(tag >> np.uint64(3)), np.int64(tag & np.uint64(7))
    stop: Int = np.int64(-1)
    if wire == 2:
        length, begin = read_number(data, start, end)
        # Compared before it is added: a length may be larger than what a position can hold.
        if begin >= 0 and length <= np.uint64(end - begin):
            start, stop = begin, begin + np.int64(length)
    elif wire == 0:
        _, stop = read_number(data, start, end)
    elif wire == 1:
        stop = start + 8 if start + 8 <= end else -1
    elif wire == 5:
        stop = start + 4 if start + 4 <= end else -1
    if number < 1:
        stop = -1
    return number, wire, np.int64(start), np.int64(stop)


@allocation_free_kernel
def _references(data: Bytes, at: Int, end: Int) -> Int:
    """Return how many numbers are packed there: each has one byte that says it is the last."""
    count = np.int64(0)
    for k in range(at, end):
        if data[k] < 0x80:
            count += 1
    return count


@allocation_free_kernel
def _measure_one(data: Bytes, at: Int, end: Int, second: bool, sizes: Longs) -> Int:
    """The part of ``measure`` for one series."""
    histogram_field = 3 if second else 4
    while at < end:
        part, wire, begin, last = read_field(data, at, end)
        if last < 0:
            return at
        at = last
        if part == 1 and wire == 0:
            sizes[5] += 1
        if wire != 2:
            continue
        if part == 1:
            sizes[5] += _references(data, begin, last) if second else 2
        elif part == histogram_field:
            sizes[2] += 1
        elif part == 2:
            sizes[1] += 1
            while begin < last:
                _, _, _, following = read_field(data, begin, last)
                if following < 0:
                    return begin
                begin = following
    return np.int64(-1)


@allocation_free_kernel
def measure(data: Bytes, second: bool, sizes: Longs) -> Int:
    """Count what a request (of 2.0: ``second``) holds and prove that it is whole.

    Writes the numbers of ``Sizes`` to ``sizes``, of labels twice as many. Returns the byte at which
    the request is damaged, or -1.
    """
    series_field = 5 if second else 1
    at: Int = np.int64(0)
    end = np.int64(len(data))
    sizes[:] = 0
    while at < end:
        number, wire, start, stop = read_field(data, at, end)
        if stop < 0:
            return at
        at = stop
        if wire != 2:
            continue
        if number == 4:
            sizes[3] += 1
        elif number == (1 if second else 3):
            sizes[4] += 1
        if number != series_field:
            continue
        sizes[0] += 1
        wrong = _measure_one(data, start, stop, second, sizes)
        if wrong >= 0:
            return wrong
    return np.int64(-1)


@allocation_free_kernel
def declared(data: Bytes, kinds: NDArray[np.int8]) -> None:
    """For each sample of a measured 2.0 request the type that its series is declared to be."""
    at: Int = np.int64(0)
    end = np.int64(len(data))
    found = 0
    while at < end:
        number, wire, start, at = read_field(data, at, end)
        if number != 5 or wire != 2:
            continue
        kind = np.uint64(0)
        begin = found
        while start < at:
            part, form, inside, start = read_field(data, start, at)
            if part == 2 and form == 2:
                found += 1
            elif part == 5 and form == 2:
                while inside < start:
                    field, shape, value, following = read_field(data, inside, start)
                    if following < 0:
                        break
                    inside = following
                    if field == 1 and shape == 0:
                        kind, _ = read_number(data, value, following)
        kinds[begin:found] = np.int8(kind & np.uint64(0x7F))


@allocation_free_kernel
def locate(data: Bytes, wanted: Int, places: Places) -> None:
    """The begin and end of each field with the number ``wanted`` in a measured request."""
    at: Int = np.int64(0)
    end = np.int64(len(data))
    found = 0
    while at < end:
        number, wire, start, at = read_field(data, at, end)
        if number == wanted and wire == 2:
            places.starts[found], places.ends[found] = start, at
            found += 1
