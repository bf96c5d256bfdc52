"""The machine code of ``ks_test``: two adjacent stretches of points, each kept sorted.

The newest ``probe`` points and the ``reference`` ones before them lie in one ring of both lengths:
when a point comes, the oldest of the probe becomes the newest of the reference.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.detector.order import insert, swap
from shared.compiled import kernel
from shared.stationarity import adf

Row = NDArray[Any]

_TERMS = 100
_SURELY = 0.2
"""Below this the probability is 1 to more places than a float has."""
_UNIT_ROOT = -2.86154
"""The 5 % point of the Dickey-Fuller t value with a constant (MacKinnon 2010, asymptotic)."""


@kernel
def move(ring: Row, before: Row, newest: Row, seen: int, value: float) -> None:
    """Let ``value`` come after ``seen`` points; sorts both stretches when they are first full."""
    room, probe = len(ring), len(newest)
    if seen >= room:
        passing = ring[(seen - probe) % room]
        swap(before, len(before), ring[seen % room], passing)
        swap(newest, probe, passing, value)
    ring[seen % room] = value
    if seen == room - 1:
        for k in range(room):
            part, held = (before, k) if k < len(before) else (newest, k - len(before))
            insert(part, held, ring[k])


@kernel
def distance(a: Row, b: Row) -> float:
    """Largest difference of the empirical distributions of two ascending samples."""
    i, j, largest = 0, 0, 0.0
    while i < len(a) and j < len(b):
        value = min(a[i], b[j])
        while i < len(a) and a[i] == value:
            i += 1
        while j < len(b) and b[j] == value:
            j += 1
        largest = max(largest, abs(i / len(a) - j / len(b)))
    return largest


@kernel
def significance(d: float, a: int, b: int) -> float:
    """Probability of at least ``d`` for samples of one distribution (Stephens' approximation)."""
    root = math.sqrt(a * b / (a + b))
    x = (root + 0.12 + 0.11 / root) * d
    if x < _SURELY:
        return 1.0
    total, sign = 0.0, 1.0
    for k in range(1, _TERMS):
        total += sign * math.exp(-2.0 * k * k * x * x)
        sign = -sign
    return min(max(2.0 * total, 0.0), 1.0)


@kernel
def middle(ordered: Row) -> float:
    """The median of ascending values."""
    n = len(ordered)
    return (np.float64(ordered[(n - 1) // 2]) + np.float64(ordered[n // 2])) / 2


@kernel
def judge(
    rings: Row,
    befores: Row,
    newests: Row,
    seen: Row,
    rows: Row,
    values: Row,
    limits: Row,
    lags: int,
    found: Row,
) -> None:
    """Writes ``found`` (n, 4): D, its p, whether the reference is stationary, median difference.

    ``limits``: D and p where it is worth asking for stationarity. The state stays as it is.
    """
    ring = np.empty(rings.shape[1], dtype=np.float32)
    before = np.empty(befores.shape[1], dtype=np.float32)
    newest = np.empty(newests.shape[1], dtype=np.float32)
    for i in range(len(rows)):
        row = rows[i]
        found[i, :] = 0.0
        if seen[row] + 1 < len(ring):
            continue
        ring[:], before[:], newest[:] = rings[row], befores[row], newests[row]
        move(ring, before, newest, seen[row], float(np.float32(values[i])))
        d = distance(before, newest)
        p = significance(d, len(before), len(newest))
        found[i, 0], found[i, 1] = d, p
        found[i, 3] = middle(newest) - middle(before)
        if d > limits[0] and p < limits[1]:
            past = np.empty(len(before))
            for k in range(len(before)):
                past[k] = ring[(seen[row] + 1 + k) % len(ring)]
            root = adf(past, lags)
            found[i, 2] = 1.0 if root < _UNIT_ROOT else 0.0


@kernel
def learn(rings: Row, befores: Row, newests: Row, seen: Row, rows: Row, values: Row) -> None:
    """Let a point come in each row."""
    for i in range(len(rows)):
        row = rows[i]
        move(rings[row], befores[row], newests[row], seen[row], float(np.float32(values[i])))
        seen[row] += 1
