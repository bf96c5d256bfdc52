"""The hash table that finds a series by its encoded labels, in machine code."""

from __future__ import annotations

import secrets
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.gateway.wire import Bytes, Int, Longs, Word, Words
from shared.compiled import allocation_free_kernel, load_word

_FIRST_SERIES, _FIRST_BYTES = 1024, 1 << 18
_SLOTS_A_SERIES = 4
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Table(NamedTuple):
    """The part of a ``SeriesTable`` that kernels see."""

    seed: Word
    """The seed of the hash."""
    slots: NDArray[np.int32]
    """Numbers of series, -1 where free; a power of two long."""
    hashes: Words
    """(room,) of the series in the table."""
    spans: Longs
    """(room, 2) place and length of their labels in ``arena``."""
    arena: Bytes
    """Labels, one after the other."""
    used: Longs
    """[series in the table, bytes of the arena]; updated."""


class SeriesTable:
    """Series numbered as they came, with their encoded labels; it grows by doubling."""

    def __init__(self) -> None:
        self._seed = np.uint64(secrets.randbits(64))
        self._make(_FIRST_SERIES, _FIRST_BYTES)

    def _make(self, room: int, length: int) -> None:
        self.kernels = Table(
            self._seed,
            np.full(_SLOTS_A_SERIES * room, -1, dtype=np.int32),
            np.empty(room, dtype=np.uint64),
            np.empty((room, 2), dtype=np.int64),
            np.empty(length, dtype=np.uint8),
            np.zeros(2, dtype=np.int64),
        )

    def __len__(self) -> int:
        return int(self.kernels.used[0])

    @property
    def room(self) -> int:
        """The number of series that have a place before the table must grow."""
        return len(self.kernels.hashes)

    @property
    def label_bytes(self) -> int:
        """Bytes that all labels take together."""
        return int(self.kernels.used[1])

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        table = self.kernels
        return sum(a.nbytes for a in (table.slots, table.hashes, table.spans, table.arena))

    def labels(self, number: int) -> bytes:
        """The encoded labels of series ``number``."""
        start, length = self.kernels.spans[number]
        return self.kernels.arena[start : start + length].tobytes()

    def grow(self, further_bytes: int) -> None:
        """Double what is full: the places, or the labels' bytes, by at least ``further_bytes``."""
        old = self.kernels
        if is_full(old):
            self._copy(old, 2 * self.room, len(old.arena))
        else:
            self._copy(old, self.room, 2 * len(old.arena) + further_bytes)

    def _copy(self, old: Table, room: int, length: int) -> None:
        series, used_bytes = old.used
        self._make(room, length)
        new = self.kernels
        new.hashes[:series], new.spans[:series] = old.hashes[:series], old.spans[:series]
        new.arena[:used_bytes] = old.arena[:used_bytes]
        new.used[:] = old.used
        _place(new, series)

    def keep(self, kept: NDArray[np.intp]) -> None:
        """Forget all but the series numbered ``kept``, which get the numbers from 0 on."""
        old, size, room = self.kernels, len(kept), _FIRST_SERIES
        while room < size:
            room *= 2
        self._make(room, max(int(old.spans[kept, 1].sum()), _FIRST_BYTES))
        new = self.kernels
        new.hashes[:size], new.spans[:size] = old.hashes[kept], old.spans[kept]
        new.used[:] = size, _gather(old.arena, new.spans[:size], new.arena)
        _place(new, size)


@allocation_free_kernel
def hashed(data: Bytes, at: Int, length: Int, seed: Word) -> Word:
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


@allocation_free_kernel
def same_bytes(left: Bytes, at: Int, right: Bytes, begin: Int, length: Int) -> bool:
    """Return whether ``length`` bytes from ``at`` and ``begin`` on are equal."""
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


@allocation_free_kernel
def find(table: Table, labels: Bytes, at: Int, length: Int, value: Word) -> Int:
    """The slot of a series with hash ``value``: its own, or the free one where it would go."""
    mask = np.int64(len(table.slots) - 1)
    slot = np.int64(value & np.uint64(mask))
    while table.slots[slot] >= 0:
        number = table.slots[slot]
        if (
            table.hashes[number] == value
            and table.spans[number, 1] == length
            and same_bytes(labels, at, table.arena, table.spans[number, 0], length)
        ):
            return slot
        slot = (slot + 1) & mask
    return slot


@allocation_free_kernel
def is_full(table: Table) -> bool:
    """Return whether the table is full: half of the slots stay free, for short probing."""
    used = table.used[0]
    return bool(used >= len(table.hashes) or 2 * (used + 1) > len(table.slots))


@allocation_free_kernel
def enter(table: Table, slot: Int, labels: Bytes, at: Int, length: Int, value: Word) -> Int:
    """Put a new series behind the last one, where there is room; its number."""
    number, begin = table.used[0], table.used[1]
    table.slots[slot] = number
    table.hashes[number] = value
    table.spans[number, 0], table.spans[number, 1] = begin, length
    for k in range(length):
        table.arena[begin + k] = labels[at + k]
    table.used[0] += 1
    table.used[1] += length
    return np.int64(number)


@allocation_free_kernel
def _place(table: Table, kept: Int) -> None:
    """Fill empty slots with the series numbered 0 .. ``kept`` - 1."""
    mask = np.int64(len(table.slots) - 1)
    for number in range(kept):
        slot = np.int64(table.hashes[number] & np.uint64(mask))
        while table.slots[slot] >= 0:
            slot = (slot + 1) & mask
        table.slots[slot] = number


@allocation_free_kernel
def _gather(source: Bytes, spans: Longs, target: Bytes) -> Int:
    """Move the pieces at ``spans`` (n, 2) of ``source`` together, and say so in ``spans``."""
    at = np.int64(0)
    for number in range(len(spans)):
        begin, length = spans[number]
        for k in range(length):
            target[at + k] = source[begin + k]
        spans[number, 0] = at
        at += length
    return at
