"""The extremes of each slot of the day, over a number of past days.

State: ``table`` (slots, days + 1, lanes) holds for every slot and day the largest value seen of
each lane (so a minimum is kept as the largest negative value); today's column is being filled and
never part of the answer. The answer changes only when a series enters another slot, so it is kept
in ``bound`` and ``past`` and looked up for free in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.columns import Column, Columns, Rows, indices

DAY_MS = 86_400_000
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class DailyTable:
    """The table's size: ``slots`` per day, ``days`` back; all times are local."""

    slots: int
    days: int
    lanes: int

    def columns(self) -> list[Column]:
        """The table, and the answer for the slot each series is in."""
        return [
            Column("table", np.float32, np.nan, (self.slots, self.days + 1, self.lanes)),
            Column("newest_day", np.int64, -1),
            Column("slot", np.int64, -1),
            Column("bound", np.float64, np.nan, (self.lanes,)),
            Column("past", np.int32),
        ]

    def number_of(self, local_ms: Ints) -> Ints:
        """Slots since 1970."""
        numbers: Ints = local_ms // (DAY_MS // self.slots)
        return numbers

    def look_up(
        self, state: Columns, rows: Rows, local_ms: Ints
    ) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Per series the largest value of each lane at this moment on past days, (n, lanes), and
        on how many past days there was one, (n,).
        """
        number = self.number_of(local_ms)
        moved = number != state["slot"][rows]
        if moved.any():
            self._enter(state, indices(rows)[moved], number[moved])
        return state["bound"][rows].copy(), state["past"][rows].copy()

    def _enter(self, state: Columns, rows: Ints, number: Ints) -> None:
        day, slot = number // self.slots, number % self.slots
        self._begin_days(state, rows, day)
        history = state["table"][rows, slot].astype(np.float64)
        history[np.arange(len(rows)), day % (self.days + 1)] = np.nan
        state["bound"][rows] = np.fmax.reduce(history, axis=1)
        state["past"][rows] = (~np.isnan(history[:, :, 0])).sum(axis=1)
        state["slot"][rows] = number

    def _begin_days(self, state: Columns, rows: Ints, day: Ints) -> None:
        """Forget the columns that the days since the last point take over."""
        ring = self.days + 1
        newest = state["newest_day"][rows]
        passed = np.where(newest < 0, 0, day - newest)
        for ahead in range(1, min(ring, int(passed.max(initial=0))) + 1):
            due = passed >= ahead
            # After a long absence everything is cleared, whatever day it was.
            state["table"][rows[due], :, (day[due] - ahead + 1) % ring] = np.nan
        state["newest_day"][rows] = np.maximum(newest, day)

    def add(self, state: Columns, rows: Rows, local_ms: Ints, values: NDArray[np.float64]) -> None:
        """Make ``values`` (n, lanes) part of today; ``look_up`` was called for the same moment."""
        number = self.number_of(local_ms)
        at = (indices(rows), number % self.slots, (number // self.slots) % (self.days + 1))
        state["table"][at] = np.fmax(state["table"][at], values.astype(np.float32))
