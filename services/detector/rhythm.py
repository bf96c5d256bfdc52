"""Hourly means of each series, and the daily test for a daily rhythm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.detector.combination import UNKNOWN
from services.detector.detectors.base import Floats
from services.detector.periodicity import HOURS, Periodicity
from shared.columns import Column, Columns, Rows, indices

HOUR_MS = 3_600_000


class Rhythm:
    """Columns: the ring of past hourly means, the hour being filled, the decided kind."""

    def __init__(self, rule: Periodicity) -> None:
        self._rule = rule
        self._ring = rule.days * HOURS
        self.state = Columns(
            [
                Column("hourly", np.float32, np.nan, (self._ring,)),
                Column("hour", np.int64, -1),
                Column("sum", np.float64),
                Column("count", np.int32),
                Column("kind", np.int8, UNKNOWN),
                Column("distance", np.float32, np.nan),
            ]
        )

    def kinds(self, rows: Rows) -> NDArray[np.int8]:
        """The decided kind of each series."""
        kinds: NDArray[np.int8] = self.state["kind"][rows]
        return kinds

    def add(self, rows: Rows, local_ms: NDArray[np.int64], values: Floats) -> None:
        """Learn one point of each series, by local time; decide again for those on a new day."""
        state = self.state
        hour = local_ms // HOUR_MS
        moved = hour != state["hour"][rows]
        if moved.any():
            self._enter(indices(rows)[moved], hour[moved])
        known = ~np.isnan(values)
        state["sum"][rows] += np.where(known, values, 0.0)
        state["count"][rows] += known

    def _enter(self, rows: NDArray[np.int64], hour: NDArray[np.int64]) -> None:
        state = self.state
        before = state["hour"][rows]
        started = before >= 0
        count = state["count"][rows]
        filled = started & (count > 0)
        done = rows[filled]
        means = state["sum"][done] / state["count"][done]
        passed = np.where(started, hour - before, 0)
        for ahead in range(1, min(self._ring, int(passed.max(initial=0))) + 1):
            due = passed >= ahead
            state["hourly"][rows[due], (hour[due] - ahead) % self._ring] = np.nan
        within = passed[filled] <= self._ring
        state["hourly"][done[within], before[filled][within] % self._ring] = means[within]
        state["hour"][rows], state["sum"][rows], state["count"][rows] = hour, 0.0, 0
        other_day = started & (hour // HOURS != before // HOURS)
        if other_day.any():
            self._decide(rows[other_day], hour[other_day])

    def _decide(self, rows: NDArray[np.int64], hour: NDArray[np.int64]) -> None:
        # Oldest first, ending with the last hour of the day before this one.
        midnight = hour // HOURS * HOURS
        place = (midnight[:, None] + np.arange(self._ring)) % self._ring
        hourly = self.state["hourly"][rows[:, None], place].astype(np.float64)
        # Hours of the new day, where the first point came late, are no part of it: they are
        # either the oldest of the ring (overwritten with NaN) or not yet filled.
        kinds, distances = self._rule.decide(hourly)
        self.state["kind"][rows], self.state["distance"][rows] = kinds, distances
