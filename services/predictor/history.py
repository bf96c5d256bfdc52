"""Histories: means of each series over steps of time, the last ``points`` of them, in columns.

Step s of a series covers ``[s*resolution, (s+1)*resolution)``; it closes when a sample of a later
step comes, by the samples' own time, so that a replay closes the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.predictor.forecasters.base import Floats
from shared.columns import Array, Column, Columns

_NEVER = np.iinfo(np.int64).min
Longs = NDArray[np.int64]


class Histories:
    """The rings of all series of a partition; rows are given from outside."""

    def __init__(self, points: int, resolution_ms: int) -> None:
        self._points = points
        self._resolution_ms = resolution_ms
        self.state = Columns(
            [
                Column("ring", np.float64, np.nan, (points,)),
                Column("first", np.int64, _NEVER),
                Column("open", np.int64, _NEVER),
                Column("sum", np.float64),
                Column("count", np.int64),
                Column("last_ms", np.int64, _NEVER),
                Column("last", np.float64, np.nan),
            ]
        )
        self.late = 0

    def add(self, rows: Longs, time_ms: Longs, values: Floats) -> Longs:
        """Take samples in; the rows (distinct, ascending) of which a step closed."""
        known = np.isfinite(values)
        rows, time_ms, values = rows[known], time_ms[known], values[known]
        if not len(rows):
            return rows
        self.state.grow(max(self.state.size, int(rows.max()) + 1))
        order = np.lexsort((time_ms, rows))
        rows, time_ms, values = rows[order], time_ms[order], values[order]
        steps = time_ms // self._resolution_ms
        in_time = steps >= self.state["open"][rows]
        self.late += int((~in_time).sum())
        rows, time_ms, values = rows[in_time], time_ms[in_time], values[in_time]
        steps = steps[in_time]
        if not len(rows):
            return rows
        starts = np.flatnonzero(np.r_[True, (np.diff(rows) != 0) | (np.diff(steps) != 0)])
        sums, counts = np.add.reduceat(values, starts), np.diff(np.r_[starts, len(rows)])
        closed = self._advance(rows[starts], steps[starts], sums, counts)
        ends = np.flatnonzero(np.r_[np.diff(rows) != 0, True])
        self.state["last_ms"][rows[ends]] = time_ms[ends]
        self.state["last"][rows[ends]] = values[ends]
        return np.unique(closed)

    def _advance(self, rows: Longs, steps: Longs, sums: Floats, counts: Longs) -> Longs:
        """Groups sorted by row and step: the first of every row at once, then the second ..."""
        nth = np.arange(len(rows)) - np.maximum.accumulate(
            np.where(np.r_[True, np.diff(rows) != 0], np.arange(len(rows)), 0)
        )
        closed = []
        for turn in range(int(nth.max()) + 1):
            at = nth == turn
            closed.append(self._one_each(rows[at], steps[at], sums[at], counts[at]))
        return np.concatenate(closed)

    def _one_each(self, rows: Longs, steps: Longs, sums: Floats, counts: Longs) -> Longs:
        state = self.state
        new = state["open"][rows] == _NEVER
        state["first"][rows[new]] = steps[new]
        state["open"][rows[new]] = steps[new]
        later = steps > state["open"][rows]
        closing = rows[later]
        self._close(closing, steps[later])
        state["sum"][rows] += sums
        state["count"][rows] += counts
        return closing

    def _close(self, rows: Longs, steps: Longs) -> None:
        state = self.state
        opened = state["open"][rows]
        state["ring"][rows, opened % self._points] = state["sum"][rows] / state["count"][rows]
        for at in np.flatnonzero(steps - opened > 1):
            row, before, now = rows[at], opened[at], steps[at]
            missed = np.arange(before + 1, min(now, before + 1 + self._points))
            state["ring"][row, missed % self._points] = np.nan
        # The step now open takes the oldest point's place when it closes.
        state["open"][rows] = steps
        state["sum"][rows] = 0
        state["count"][rows] = 0

    def closed(self, rows: Longs) -> Floats:
        """The step of each row that closed last; NaN where nothing was measured in it."""
        result: Floats = self.state["ring"][rows, (self.state["open"][rows] - 1) % self._points]
        return result

    def of(self, row: int) -> Floats:
        """Closed steps of a series, oldest first; NaN where nothing was measured."""
        end = int(self.state["open"][row])
        start = max(int(self.state["first"][row]), end - self._points)
        result: Floats = self.state["ring"][row, np.arange(start, end) % self._points]
        return result

    def keep(self, rows: Longs) -> None:
        """Forget all rows but these, which get the numbers from 0 on."""
        # A series that never had a value has no row here.
        self.state.keep(rows[rows < self.state.size])

    def snapshot(self) -> dict[str, Array]:
        """The columns as arrays by name, for a snapshot."""
        return self.state.snapshot()

    def restore(self, arrays: Mapping[str, Array], size: int) -> None:
        """Take the columns of a snapshot; ValueError if they do not fit."""
        self.state.restore(arrays, size)
