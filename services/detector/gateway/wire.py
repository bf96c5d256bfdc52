"""Remote-write requests read in machine code: from protobuf bytes to columns.

Both messages are read by hand, within bounds, field by field:

- 1.0 ``prometheus.WriteRequest``: timeseries 1 {label 1 {name 1, value 2}, sample 2, histogram 4};
- 2.0 ``io.prometheus.write.v2.Request``: symbols 4, timeseries 5 {label refs 1, sample 2,
  histogram 3};
- both with sample {value 1 as double, timestamp 2 as int64}.

A series' declared type (2.0: metadata 5 {type 1}) is read apart, when it is new. Everything else
(exemplars, created timestamps) is skipped by its wire type. A series
is found by the bytes of its labels as 1.0 writes them, one after the other; the references of 2.0
are written out that way first, so both messages find the same series. Nothing is decoded here:
text is looked at once, when a series is new.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel, load_word

# ruff: noqa: PLR2004 - the formats' field numbers and wire types, named in the text above
Bytes: TypeAlias = NDArray[np.uint8]
Longs: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]
Word: TypeAlias = np.uint64
Int: TypeAlias = int | np.int64

MOST_LABEL_BYTES = 262_144
"""Of one series; more is a fault of that series."""

TOO_LONG, NO_ROOM, LOST = -1, -2, -3
"""Instead of a series' number: its labels are too long; there is no room for a new series; its
references lead to no symbol."""
_FULL = -4

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_CUT_OFF = -1


@kernel
def _number(data: Bytes, at: Int, end: Int) -> tuple[Word, Int]:
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


@kernel
def _field(data: Bytes, at: Int, end: Int) -> tuple[Int, Int, Int, Int]:
    """(field number, wire type, start, end) of the field at ``at``; end -1: damaged there."""
    tag, start = _number(data, at, end)
    if start < 0:
        return np.int64(0), np.int64(0), np.int64(at), np.int64(-1)
    number, wire = np.int64(tag >> np.uint64(3)), np.int64(tag & np.uint64(7))
    stop: Int = np.int64(-1)
    if wire == 2:
        length, begin = _number(data, start, end)
        # Compared before it is added: a length may be larger than what a position can hold.
        if begin >= 0 and length <= np.uint64(end - begin):
            start, stop = begin, begin + np.int64(length)
    elif wire == 0:
        _, stop = _number(data, start, end)
    elif wire == 1:
        stop = start + 8 if start + 8 <= end else -1
    elif wire == 5:
        stop = start + 4 if start + 4 <= end else -1
    if number < 1:
        stop = -1
    return number, wire, np.int64(start), np.int64(stop)


@kernel
def _measure_one(data: Bytes, at: Int, end: Int, histogram_field: Int, sizes: Longs) -> Int:
    """The part of ``measure`` for one series."""
    while at < end:
        part, wire, begin, last = _field(data, at, end)
        if last < 0:
            return at
        at = last
        if wire != 2:
            continue
        if part == histogram_field:
            sizes[2] += 1
        elif part == 2:
            sizes[1] += 1
            while begin < last:
                _, _, _, following = _field(data, begin, last)
                if following < 0:
                    return begin
                begin = following
    return np.int64(-1)


@kernel
def measure(data: Bytes, series_field: Int, histogram_field: Int, sizes: Longs) -> Int:
    """Count what a request holds and prove that it is whole.

    Writes the numbers of series, samples, native histograms, symbols (2.0) and pieces of metadata
    (1.0) to ``sizes``. Returns the byte at which the request is damaged, or -1.
    """
    at: Int = np.int64(0)
    end = np.int64(len(data))
    sizes[:] = 0
    while at < end:
        number, wire, start, stop = _field(data, at, end)
        if stop < 0:
            return at
        at = stop
        if wire != 2:
            continue
        if number == 4:
            sizes[3] += 1
        elif number == 3 and series_field == 1:
            sizes[4] += 1
        if number != series_field:
            continue
        sizes[0] += 1
        wrong = _measure_one(data, start, stop, histogram_field, sizes)
        if wrong >= 0:
            return wrong
    return np.int64(-1)


@kernel
def declared(data: Bytes, kinds: NDArray[np.int8]) -> None:
    """For each sample of a measured 2.0 request the type that its series is declared to be."""
    at: Int = np.int64(0)
    end = np.int64(len(data))
    found = 0
    while at < end:
        number, wire, start, at = _field(data, at, end)
        if number != 5 or wire != 2:
            continue
        kind = np.uint64(0)
        begin = found
        while start < at:
            part, form, inside, start = _field(data, start, at)
            if part == 2 and form == 2:
                found += 1
            elif part == 5 and form == 2:
                while inside < start:
                    field, shape, value, following = _field(data, inside, start)
                    if following < 0:
                        break
                    inside = following
                    if field == 1 and shape == 0:
                        kind, _ = _number(data, value, following)
        kinds[begin:found] = np.int8(kind & np.uint64(0x7F))


@kernel
def symbols(data: Bytes, starts: Longs, ends: Longs) -> None:
    """Where each symbol of a measured 2.0 request begins and ends."""
    at: Int = np.int64(0)
    end = np.int64(len(data))
    found = 0
    while at < end:
        number, wire, start, at = _field(data, at, end)
        if number == 4 and wire == 2:
            starts[found], ends[found] = start, at
            found += 1


@kernel
def _hash(data: Bytes, at: Int, length: Int, seed: Word) -> Word:
    """64 bits; who does not know ``seed`` cannot choose labels that fall together."""
    value = seed ^ np.uint64(length)
    end = at + length
    while at + 8 <= end:
        value = (value ^ load_word(data, at)) * _MULTIPLIER
        value ^= value >> np.uint64(32)
        at += 8
    while at < end:
        value = (value ^ np.uint64(data[at])) * _MULTIPLIER
        value ^= value >> np.uint64(29)
        at += 1
    return value ^ (value >> np.uint64(31))


@kernel
def _same(left: Bytes, at: Int, right: Bytes, begin: Int, length: Int) -> bool:
    end = at + length
    while at + 8 <= end:
        if load_word(left, at) != load_word(right, begin):
            return False
        at += 8
        begin += 8
    while at < end:
        if left[at] != right[begin]:
            return False
        at += 1
        begin += 1
    return True


@kernel
def _put_number(out: Bytes, at: Int, value: Int) -> Int:
    while value > 0x7F:
        out[at] = (value & 0x7F) | 0x80
        at += 1
        value >>= 7
    out[at] = value
    return at + 1


@kernel
def _length_of(value: Int) -> Int:
    """Bytes that a number takes."""
    count = 1
    while value > 0x7F:
        count += 1
        value >>= 7
    return count


@kernel
def _put_text(data: Bytes, start: Int, end: Int, field: Int, out: Bytes, at: Int) -> Int:
    out[at] = field << 3 | 2
    at = _put_number(out, at + 1, end - start)
    for k in range(start, end):
        out[at] = data[k]
        at += 1
    return at


@kernel
def _put_label(
    data: Bytes, name: Int, name_end: Int, value: Int, value_end: Int, out: Bytes, at: Int
) -> Int:
    """One label as 1.0 writes it; -1 when there is no room."""
    named, valued = name_end - name, value_end - value
    inside = 2 + _length_of(named) + named + _length_of(valued) + valued
    if at + 1 + _length_of(inside) + inside > len(out):
        return np.int64(-1)
    out[at] = 1 << 3 | 2
    at = _put_number(out, at + 1, inside)
    at = _put_text(data, name, name_end, 1, out, at)
    return np.int64(_put_text(data, value, value_end, 2, out, at))


@kernel
def _one_piece(data: Bytes, at: Int, end: Int) -> Int:
    """Where the labels of a 1.0 series end that lie together at its front; -1: they do not."""
    last = at
    apart = False
    while at < end:
        number, wire, _, at = _field(data, at, end)
        if number != 1 or wire != 2:
            apart = True
        elif apart:
            return np.int64(-1)
        else:
            last = at
    return np.int64(last)


@kernel
def _labels_1(data: Bytes, at: Int, end: Int, out: Bytes) -> Int:
    """The encoded labels of a 1.0 series, together in ``out``; their length, -1: too long."""
    length = np.int64(0)
    while at < end:
        begin = at
        number, wire, _, at = _field(data, at, end)
        if number != 1 or wire != 2:
            continue
        if length + at - begin > len(out):
            return np.int64(-1)
        for k in range(begin, at):
            out[length] = data[k]
            length += 1
    return length


@kernel
def _labels_2(data: Bytes, at: Int, end: Int, starts: Longs, ends: Longs, out: Bytes) -> Int:
    """The same of a 2.0 series; -2: a reference to no symbol, or a name without a value."""
    length: Int = np.int64(0)
    name = np.int64(-1)
    while at < end:
        number, wire, start, at = _field(data, at, end)
        if number != 1 or wire not in (0, 2):
            continue
        # Packed as a rule; a number a field is the same to protobuf.
        while start < at:
            reference, start = _number(data, start, at)
            if start < 0 or reference >= np.uint64(len(starts)):
                return np.int64(-2)
            symbol = np.int64(reference)
            if name < 0:
                name = symbol
                continue
            length = _put_label(
                data, starts[name], ends[name], starts[symbol], ends[symbol], out, length
            )
            if length < 0:
                return np.int64(-1)
            name = np.int64(-1)
    return length if name < 0 else np.int64(-2)


@kernel
def _find(
    labels: Bytes,
    at: Int,
    length: Int,
    value: Word,
    slots: NDArray[np.int32],
    hashes: Words,
    spans: Longs,
    arena: Bytes,
) -> Int:
    """The slot of a series in the table: its own, or the free one where it would go."""
    mask = np.int64(len(slots) - 1)
    slot = np.int64(value & np.uint64(mask))
    while slots[slot] >= 0:
        number = slots[slot]
        if (
            hashes[number] == value
            and spans[number, 1] == length
            and _same(labels, at, arena, spans[number, 0], length)
        ):
            return slot
        slot = (slot + 1) & mask
    return slot


@kernel
def _follows(data: Bytes, at: Int, end: Int, number: Int, spans: Longs, arena: Bytes) -> bool:
    """Whether the 1.0 series at ``at`` has the labels of series ``number``, all in front.

    Senders repeat their series in one order, so the next one is mostly known before it is read.
    """
    length = spans[number, 1]
    if at + length > end or not _same(data, at, arena, spans[number, 0], length):
        return False
    # Whole fields are the same; no further label may come after them.
    return bool(_one_piece(data, at + length, end) == at + length)


@kernel
def _enter(
    labels: Bytes,
    at: Int,
    length: Int,
    value: Word,
    hashes: Words,
    spans: Longs,
    arena: Bytes,
    used: Longs,
) -> None:
    """Put a new series behind the last one."""
    number, begin = used[0], used[1]
    hashes[number] = value
    spans[number, 0], spans[number, 1] = begin, length
    for k in range(length):
        arena[begin + k] = labels[at + k]
    used[0] += 1
    used[1] += length


@kernel
def _samples(
    data: Bytes,
    at: Int,
    end: Int,
    histogram_field: Int,
    number: Int,
    ids: Longs,
    times: Longs,
    values: Words,
    taken: Int,
    odd: Longs,
    strange: Int,
) -> tuple[Int, Int]:
    """Append the samples of one series; the new counts of samples and of histograms."""
    while at < end:
        part, wire, start, at = _field(data, at, end)
        if wire != 2:
            continue
        if part == histogram_field:
            odd[strange] = number
            strange += 1
        elif part == 2:
            time, bits = np.uint64(0), np.uint64(0)
            while start < at:
                field, kind, begin, start = _field(data, start, at)
                if field == 1 and kind == 1:
                    bits = load_word(data, begin)
                elif field == 2 and kind == 0:
                    time, _ = _number(data, begin, start)
            ids[taken], times[taken], values[taken] = number, np.int64(time), bits
            taken += 1
    return taken, strange


@kernel
def _resolve(
    data: Bytes,
    start: Int,
    end: Int,
    starts: Longs,
    ends: Longs,
    second: bool,
    seed: Word,
    scratch: Bytes,
    slots: NDArray[np.int32],
    hashes: Words,
    spans: Longs,
    arena: Bytes,
    used: Longs,
    most: Int,
) -> Int:
    """The number of the series that lies in ``data[start:end]``, a new one where it is new.

    See ``read`` for the arguments. TOO_LONG, NO_ROOM or LOST: it gets none; _FULL: table or arena
    must grow first.
    """
    labels, begin = data, start
    if second:
        labels, begin = scratch, np.int64(0)
        length = _labels_2(data, start, end, starts, ends, scratch)
    else:
        length = _one_piece(data, start, end) - start
        if length < 0:
            labels, begin = scratch, np.int64(0)
            length = _labels_1(data, start, end, scratch)
    if length < 0 or length > len(scratch):
        return np.int64(LOST if second and length == -2 else TOO_LONG)
    value = _hash(labels, begin, length, seed)
    slot = _find(labels, begin, length, value, slots, hashes, spans, arena)
    number = np.int64(slots[slot])
    if number >= 0:
        return number
    if used[0] >= most:
        return np.int64(NO_ROOM)
    # At most half full: probing stays short.
    full = used[0] >= len(hashes) or 2 * (used[0] + 1) > len(slots)
    if full or used[1] + length > len(arena):
        return np.int64(_FULL)
    slots[slot] = number = used[0]
    _enter(labels, begin, length, value, hashes, spans, arena, used)
    return np.int64(number)


@kernel
def read(
    data: Bytes,
    at: Int,
    starts: Longs,
    ends: Longs,
    second: bool,
    seed: Word,
    scratch: Bytes,
    slots: NDArray[np.int32],
    hashes: Words,
    spans: Longs,
    arena: Bytes,
    used: Longs,
    most: Int,
    ids: Longs,
    times: Longs,
    values: Words,
    odd: Longs,
    done: Longs,
) -> Int:
    """Read the series of a measured request from byte ``at`` on.

    Args:
        data: the whole request.
        at: where to begin: 0, or where an earlier call stopped.
        starts: (symbols,) where each symbol of a 2.0 request begins.
        ends: (symbols,) and where it ends.
        second: whether it is a 2.0 request.
        seed: of the table's hash.
        scratch: (MOST_LABEL_BYTES,) for the labels of one series.
        slots: the table: numbers of series, -1 where free; a power of two long.
        hashes: (room,) of the series in the table.
        spans: (room, 2) place and length of their labels in ``arena``.
        arena: labels, one after the other.
        used: [series in the table, bytes of the arena]; updated.
        most: new series are taken in only up to so many.
        ids: (samples,) number of the series, or TOO_LONG, NO_ROOM, LOST.
        times: (samples,) milliseconds.
        values: (samples,) the doubles' bits.
        odd: (histograms,) the series that had one.
        done: [samples, histograms] so far; updated.

    Returns:
        where to go on when table or arena must grow first; -1 at the end.
    """
    series_field, histogram_field = (5, 3) if second else (1, 4)
    end = np.int64(len(data))
    number: Int = np.int64(TOO_LONG)
    while at < end:
        here = at
        field, wire, start, at = _field(data, at, end)
        if field != series_field or wire != 2:
            continue
        following = number + 1
        known = not second and 0 < following < used[0]
        if known and _follows(data, start, at, following, spans, arena):
            number = following
            start += spans[number, 1]
        else:
            number = _resolve(
                data,
                start,
                at,
                starts,
                ends,
                second,
                seed,
                scratch,
                slots,
                hashes,
                spans,
                arena,
                used,
                most,
            )
        if number == _FULL:
            return here
        done[0], done[1] = _samples(
            data, start, at, histogram_field, number, ids, times, values, done[0], odd, done[1]
        )
    return np.int64(-1)


@kernel
def place(hashes: Words, kept: Int, slots: NDArray[np.int32]) -> None:
    """Fill an empty table with the series numbered 0 .. ``kept`` - 1."""
    mask = np.int64(len(slots) - 1)
    for number in range(kept):
        slot = np.int64(hashes[number] & np.uint64(mask))
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = number


@kernel
def gather(source: Bytes, spans: Longs, target: Bytes) -> Int:
    """Move the pieces at ``spans`` (n, 2) of ``source`` together, and say so in ``spans``."""
    at = np.int64(0)
    for number in range(len(spans)):
        begin, length = spans[number]
        for k in range(length):
            target[at + k] = source[begin + k]
        spans[number, 0] = at
        at += length
    return at
