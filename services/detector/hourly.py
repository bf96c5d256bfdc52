"""Running moments of the last 24 hours, by hour: mean, spread and trend in O(1) per point.

A block is (n, mean time, mean value, and the sums of squares and products about these means:
time*time, time*value, value*value), time in hours since 1970. Blocks of adjacent hours are put
together exactly (Chan, Golub and LeVeque 1983), so that the window's mean, deviation and line are
those of its points; it moves by whole hours: the hour that is going on, and those before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.columns import Column, Columns, Rows, indices

Floats = NDArray[np.float64]

N, T, Y, TT, TY, YY = range(6)
"""Places in a block."""
_MOMENTS = 6
_HOUR_MS = 3_600_000


def merged(a: Floats, b: Floats) -> Floats:
    """The moments (..., 6) of the points of ``a`` and of ``b`` together."""
    n = a[..., N] + b[..., N]
    share = b[..., N] / np.maximum(n, 1)
    dt, dy = b[..., T] - a[..., T], b[..., Y] - a[..., Y]
    cross = a[..., N] * share
    return np.stack(
        [
            n,
            a[..., T] + share * dt,
            a[..., Y] + share * dy,
            a[..., TT] + b[..., TT] + cross * dt * dt,
            a[..., TY] + b[..., TY] + cross * dt * dy,
            a[..., YY] + b[..., YY] + cross * dy * dy,
        ],
        axis=-1,
    )


def deviation(moments: Floats) -> Floats:
    """Sample standard deviation (n - 1) of the values, (...,); NaN for fewer than two."""
    n = moments[..., N]
    spread = np.where(n > 1, moments[..., YY] / np.maximum(n - 1, 1), np.nan)
    found: Floats = np.sqrt(spread)
    return found


@dataclass(frozen=True)
class Hours:
    """A window of ``hours`` hours, including the current one."""

    hours: int = 24

    def columns(self) -> list[Column]:
        """A block an hour; those of the whole hours together; the one being filled."""
        return [
            Column("blocks", np.float64, 0, (self.hours, _MOMENTS)),
            Column("hour", np.int64, -1),
            Column("full", np.float64, 0, (_MOMENTS,)),
            Column("open", np.float64, 0, (_MOMENTS,)),
        ]

    def window(self, state: Columns, rows: Rows, time_ms: NDArray[np.int64]) -> Floats:
        """Moments (n, 6) of the points before this moment that lie in the window."""
        self._roll(state, rows, time_ms)
        return merged(state["full"][rows], state["open"][rows])

    def first(self, state: Columns, rows: Rows, time_ms: NDArray[np.int64], count: int) -> Floats:
        """Moments (n, 6) of the window's oldest ``count`` hours."""
        self._roll(state, rows, time_ms)
        at, hour = indices(rows), time_ms // _HOUR_MS
        found = np.zeros((len(at), _MOMENTS))
        for ahead in range(1, count + 1):
            found = merged(found, state["blocks"][at, (hour + ahead) % self.hours])
        return found

    def add(self, state: Columns, rows: Rows, time_ms: NDArray[np.int64], values: Floats) -> None:
        """Make the points part of the hour that is going on."""
        self._roll(state, rows, time_ms)
        point = np.zeros((len(values), _MOMENTS))
        point[:, N], point[:, T], point[:, Y] = 1, time_ms / _HOUR_MS, values
        state["open"][rows] = merged(state["open"][rows], point)

    def _roll(self, state: Columns, rows: Rows, time_ms: NDArray[np.int64]) -> None:
        hour = time_ms // _HOUR_MS
        moved = hour != state["hour"][rows]
        if moved.any():
            self._enter(state, indices(rows)[moved], hour[moved])

    def _enter(self, state: Columns, rows: NDArray[np.int64], hour: NDArray[np.int64]) -> None:
        before = state["hour"][rows]
        blocks = state["blocks"][rows]
        place = np.arange(len(rows))
        blocks[place, before % self.hours] = state["open"][rows]
        passed = np.where(before < 0, self.hours, hour - before)
        # The hours that were passed over held nothing; the one that begins is being filled.
        age = (hour[:, None] - np.arange(self.hours)) % self.hours
        blocks[age < np.minimum(passed, self.hours)[:, None]] = 0
        full = np.zeros((len(rows), _MOMENTS))
        for ahead in range(1, self.hours):
            full = merged(full, blocks[place, (hour + ahead) % self.hours])
        state["blocks"][rows], state["full"][rows] = blocks, full
        state["open"][rows], state["hour"][rows] = 0, hour
