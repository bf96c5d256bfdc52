"""Kernels of sorted windows: the newest points of a series in order.

``ring`` (room,) holds the points in order of time, ``ordered`` (room,) the same ascending. A point
comes and the oldest goes in one move of the values between them; nothing allocates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.compiled import allocation_free_kernel

Row = NDArray[Any]


@allocation_free_kernel
def place(ordered: Row, held: int, value: float) -> int:
    """Return how many of the ``held`` ascending values are below ``value``."""
    low, high = 0, held
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@allocation_free_kernel
def swap(ordered: Row, held: int, gone: float, value: float) -> None:
    """Take ``gone``, which is one of the values, out and put ``value`` in."""
    at = place(ordered, held, gone)
    while at + 1 < held and ordered[at + 1] < value:
        ordered[at] = ordered[at + 1]
        at += 1
    while at > 0 and ordered[at - 1] > value:
        ordered[at] = ordered[at - 1]
        at -= 1
    ordered[at] = value


@allocation_free_kernel
def insert(ordered: Row, held: int, value: float) -> None:
    """Put ``value`` among the first ``held`` values, which are one more then."""
    while held > 0 and ordered[held - 1] > value:
        ordered[held] = ordered[held - 1]
        held -= 1
    ordered[held] = value


@allocation_free_kernel
def add(ring: Row, ordered: Row, seen: int, value: float) -> None:
    """Make ``value`` the newest of the window, after ``seen`` points before it."""
    room = len(ring)
    at = seen % room
    if seen >= room:
        swap(ordered, room, ring[at], value)
    else:
        insert(ordered, seen, value)
    ring[at] = value


@allocation_free_kernel
def add_all(rings: Row, ordereds: Row, seen: Row, rows: Row, values: Row) -> None:
    """``add`` one value to the window of each row."""
    for i in range(len(rows)):
        row = rows[i]
        add(rings[row], ordereds[row], seen[row], float(np.float32(values[i])))
        seen[row] += 1


@allocation_free_kernel
def medians(ordereds: Row, seen: Row, rows: Row, median: Row, deviation: Row) -> None:
    """The median (n,) of each window and the median absolute deviation from it (n,)."""
    for i in range(len(rows)):
        ordered = ordereds[rows[i]]
        held = min(seen[rows[i]], len(ordered))
        if held == 0:
            median[i] = deviation[i] = np.nan
            continue
        lower, upper = (held - 1) // 2, held // 2
        middle = (np.float64(ordered[lower]) + np.float64(ordered[upper])) / 2
        median[i] = middle
        # From the middle outwards, always the nearer side: distances ascend.
        left, right = lower, lower + 1
        below = 0.0
        for taken in range(upper + 1):
            near = middle - ordered[left] if left >= 0 else np.inf
            far = ordered[right] - middle if right < held else np.inf
            if near <= far:
                left -= 1
            else:
                right += 1
            if taken == lower:
                below = min(near, far)
            if taken == upper:
                deviation[i] = (below + min(near, far)) / 2


@allocation_free_kernel
def bins(ordereds: Row, seen: Row, rows: Row, values: Row, count: int, edges: Row) -> None:
    """The number of points of each window that share a value's bin, and the bin: ``edges`` (n, 3).

    ``count`` bins of one width from the least to the largest; the last one is closed. A value
    outside is in a bin of its own, with no point.
    """
    for i in range(len(rows)):
        ordered = ordereds[rows[i]]
        held = min(seen[rows[i]], len(ordered))
        value = values[i]
        edges[i, 0] = edges[i, 1] = edges[i, 2] = 0.0
        if held == 0:
            continue
        low, high = np.float64(ordered[0]), np.float64(ordered[held - 1])
        # A sum of three has rounded: what is on the window's edge is in it.
        slack = 1e-6 * max(abs(low), abs(high))
        if value < low - slack or value > high + slack:
            edges[i, 1], edges[i, 2] = (high, value) if value > high else (value, low)
            continue
        if low == high:
            edges[i, 0], edges[i, 1], edges[i, 2] = held, low, high
            continue
        width = (high - low) / count
        number = min(max(int((value - low) / width), 0), count - 1)
        left, right = low + number * width, low + (number + 1) * width
        last = held if number == count - 1 else place(ordered, held, right)
        edges[i, 0] = last - (0 if number == 0 else place(ordered, held, left))
        edges[i, 1], edges[i, 2] = left, right
