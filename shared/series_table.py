"""The machine-coded part of ``shared.series``: series in a hash table, found by three hashes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.compiled import allocation_free_kernel

Words: TypeAlias = NDArray[np.uint64]
Codes: TypeAlias = NDArray[np.int32]
Longs: TypeAlias = NDArray[np.int64]

# Odd constants with well spread bits, so that equal names in other places differ.
_HOST = np.uint64(0x9E3779B97F4A7C15)
_ITEM = np.uint64(0xC2B2AE3D27D4EB4F)
_LABELS = np.uint64(0x165667B19E3779F9)
_SHIFT = np.uint64(29)


@allocation_free_kernel
def _slot(
    host: np.uint64, item: np.uint64, labels: np.uint64, slots: Longs, parts: Words
) -> np.int64:
    """The slot of a series: its own, or the free one where it would go."""
    mixed = host * _HOST + item * _ITEM + labels * _LABELS
    mask = len(slots) - 1
    slot = np.int64((mixed ^ (mixed >> _SHIFT)) & np.uint64(mask))
    while slots[slot] >= 0:
        row = slots[slot]
        if parts[row, 0] == host and parts[row, 1] == item and parts[row, 2] == labels:
            break
        slot = (slot + 1) & mask
    return slot


@allocation_free_kernel
def resolve(
    hosts: Words,
    items: Words,
    labels: Words,
    host_code: Codes,
    item_code: Codes,
    label_code: Codes,
    slots: Longs,
    parts: Words,
    used: int,
    most: int,
    rows: Longs,
    new_at: Longs,
) -> int:
    """Find the row of every sample; a series not seen before gets the next row.

    Args:
        hosts: hashes of the batch's host names.
        items: of its items.
        labels: of its label texts.
        host_code: (samples,) index into ``hosts``.
        item_code: into ``items``.
        label_code: into ``labels``.
        slots: rows by hash, -1 where free; a power of two long, at most half full afterwards.
        parts: (room, 3) the hashes of every row; room for one more row a sample.
        used: rows so far.
        most: new series get rows only up to so many.
        rows: (samples,) filled; -1: one series too many.
        new_at: (samples,) filled from the front: the sample at which each new row was met.

    Returns:
        rows in use afterwards.
    """
    begin = used
    for at in range(len(rows)):
        host, item, text = hosts[host_code[at]], items[item_code[at]], labels[label_code[at]]
        slot = _slot(host, item, text, slots, parts)
        row = slots[slot]
        if row < 0 and used < most:
            row = used
            slots[slot] = row
            parts[row, 0], parts[row, 1], parts[row, 2] = host, item, text
            new_at[used - begin] = at
            used += 1
        rows[at] = row
    return used


@allocation_free_kernel
def place(parts: Words, used: int, slots: Longs) -> None:
    """Fill an empty table with rows 0 .. ``used`` - 1."""
    for row in range(used):
        slots[_slot(parts[row, 0], parts[row, 1], parts[row, 2], slots, parts)] = row
