"""Decodes a remote-write request into columns of series, times and values, in machine code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.detector.gateway.series_labels import LOST, TOO_LONG, labels_1, labels_2, one_piece
from services.detector.gateway.series_table import (
    Table,
    enter,
    find,
    hashed,
    is_full,
    same_bytes,
)
from services.detector.gateway.wire import (
    Bytes,
    Int,
    Longs,
    Places,
    Word,
    Words,
    read_field,
    read_number,
)
from shared.compiled import allocation_free_kernel, load_word

# ruff: noqa: PLR2004 - the formats' field numbers and wire types, named in ``wire``
NO_ROOM = -2
"""Instead of a series' number: there is no room for a new series. See also TOO_LONG and LOST."""
_FULL = -4


class Request(NamedTuple):
    """A request that was measured (see ``wire.measure``)."""

    data: Bytes
    symbols: Places
    second: bool
    """True if it is a 2.0 request."""


class Columns(NamedTuple):
    """The contents of a request, as far as it has been read."""

    series: Longs
    """(samples,) number of the series, or TOO_LONG, NO_ROOM, LOST."""
    time_ms: Longs
    """(samples,)"""
    bits: Words
    """(samples,) the doubles' bits."""
    histograms: Longs
    """(histograms,) the series that had a native one."""
    done: Longs
    """[samples, histograms] so far."""


def columns_for(samples: int, histograms: int) -> Columns:
    """Room for what a request holds."""
    return Columns(
        np.empty(samples, dtype=np.int64),
        np.empty(samples, dtype=np.int64),
        np.empty(samples, dtype=np.uint64),
        np.empty(histograms, dtype=np.int64),
        np.zeros(2, dtype=np.int64),
    )


@allocation_free_kernel
def read_request(
    request: Request, at: Int, table: Table, max_series: Int, scratch: Bytes, columns: Columns
) -> Int:
    """Read the series of a request from byte ``at`` on into ``columns``.

    Args:
        request: the request.
        at: where to begin: 0, or where an earlier call stopped.
        table: where series are found; new ones are entered.
        max_series: new series are taken in only up to so many.
        scratch: (MAX_LABEL_BYTES,) for the labels of one series.
        columns: filled.

    Returns:
        where to go on when the table must grow first; -1 at the end.
    """
    data = request.data
    series_field, histogram_field = (5, 3) if request.second else (1, 4)
    end = np.int64(len(data))
    number: Int = np.int64(TOO_LONG)
    while at < end:
        here = at
        field, wire, start, at = read_field(data, at, end)
        if field != series_field or wire != 2:
            continue
        following = number + 1
        known = not request.second and 0 < following < table.used[0]
        if known and _follows(data, start, at, following, table):
            number = following
            start += table.spans[number, 1]
        else:
            number = _resolve(request, start, at, table, max_series, scratch)
        if number == _FULL:
            return here
        _samples(data, start, at, histogram_field, number, columns)
    return np.int64(-1)


@allocation_free_kernel
def _follows(data: Bytes, at: Int, end: Int, number: Int, table: Table) -> bool:
    """Return whether the 1.0 series at ``at`` has the labels of series ``number``, all in front.

    Senders repeat their series in one order, so the next one is mostly known before it is read.
    """
    length = table.spans[number, 1]
    if at + length > end or not same_bytes(data, at, table.arena, table.spans[number, 0], length):
        return False
    # Whole fields are the same; no further label may come after them.
    return bool(one_piece(data, at + length, end) == at + length)


@allocation_free_kernel
def _resolve(
    request: Request, start: Int, end: Int, table: Table, max_series: Int, scratch: Bytes
) -> Int:
    """The number of the series that is in ``data[start:end]``, a new one where it is new.

    TOO_LONG, NO_ROOM or LOST: it gets none; _FULL: the table must grow first.
    """
    labels, begin = request.data, start
    if request.second:
        labels, begin = scratch, np.int64(0)
        length = labels_2(request.data, start, end, request.symbols, scratch)
    else:
        length = one_piece(request.data, start, end) - start
        if length < 0:
            labels, begin = scratch, np.int64(0)
            length = labels_1(request.data, start, end, scratch)
    if length < 0 or length > len(scratch):
        return np.int64(LOST if request.second and length == LOST else TOO_LONG)
    value: Word = hashed(labels, begin, length, table.seed)
    slot = find(table, labels, begin, length, value)
    if table.slots[slot] >= 0:
        return np.int64(table.slots[slot])
    if table.used[0] >= max_series:
        return np.int64(NO_ROOM)
    if is_full(table) or table.used[1] + length > len(table.arena):
        return np.int64(_FULL)
    return enter(table, slot, labels, begin, length, value)


@allocation_free_kernel
def _samples(
    data: Bytes, at: Int, end: Int, histogram_field: Int, number: Int, columns: Columns
) -> None:
    """Append the samples and histograms of one series."""
    row, histogram = columns.done
    while at < end:
        part, wire, start, at = read_field(data, at, end)
        if wire != 2:
            continue
        if part == histogram_field:
            columns.histograms[histogram] = number
            histogram += 1
        elif part == 2:
            time, bits = np.uint64(0), np.uint64(0)
            while start < at:
                field, kind, begin, start = read_field(data, start, at)
                if field == 1 and kind == 1:
                    bits = load_word(data, begin)
                elif field == 2 and kind == 0:
                    time, _ = read_number(data, begin, start)
            columns.series[row], columns.time_ms[row] = number, np.int64(time)
            columns.bits[row] = bits
            row += 1
    columns.done[0], columns.done[1] = row, histogram
