"""Aligns points to their series' step, and counts the points missing before each.

The step is inferred: the first distance between two points, replaced when three in a row do not
agree with it. A configured step is never replaced.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.columns import Column, Columns, Rows

NEVER = np.iinfo(np.int64).min
_DISAGREEING = 3


class Alignment:
    """Columns ``last_ms``, ``step_ms`` and ``odd`` of a series."""

    def __init__(self, step_ms: int | None, tolerated: int) -> None:
        self._step_ms = step_ms
        self._tolerated = tolerated
        self.state = Columns(
            [
                Column("last_ms", np.int64, NEVER),
                Column("step_ms", np.int64, step_ms or 0),
                Column("odd", np.int8),
            ]
        )

    def advance(
        self, rows: Rows, time_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Missing steps before each point, and whether recent history is broken by them.

        ``time_ms`` lies after each series' last point.
        """
        last, step = self.state["last_ms"][rows], self.state["step_ms"][rows].copy()
        first = last == NEVER
        distance = np.where(first, 0, time_ms - np.where(first, 0, last))
        step = np.where((step == 0) & ~first, distance, step)
        steps = np.where(step > 0, np.rint(distance / np.maximum(step, 1)), 1)
        missing = np.where(first, 0, np.clip(steps - 1, 0, 1_000_000_000)).astype(np.int32)
        if self._step_ms is None:
            step, steps = self._reconsider(rows, step, steps, distance)
        self.state["last_ms"][rows], self.state["step_ms"][rows] = time_ms, step
        return missing, first | (missing > self._tolerated)

    def _reconsider(
        self,
        rows: Rows,
        step: NDArray[np.int64],
        steps: NDArray[np.float64],
        distance: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        odd = np.where(steps == 1, 0, self.state["odd"][rows] + 1)
        replaced = odd >= _DISAGREEING
        self.state["odd"][rows] = np.where(replaced, 0, odd)
        return np.where(replaced & (distance > 0), distance, step), steps
