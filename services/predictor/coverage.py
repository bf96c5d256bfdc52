"""Forecasts kept until their time comes: did the interval hold the value, did the alarm come?

One forecast a series at a time, whole: when its last step has come, the next one made is kept. So
every step ahead counts alike, and no value is judged twice. The probability of an alarm within the
horizon is judged when it comes, or when the last step has passed without it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.predictor.forecasters import Forecast
from services.predictor.forecasters.base import Floats
from shared.columns import Array, Column, Columns

_NONE = np.iinfo(np.int64).min
Longs = NDArray[np.int64]


class Coverage:
    """The kept forecasts of all series of a partition."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self.state = Columns(
            [
                Column("begin", np.int64, _NONE),
                Column("lower", np.float64, np.nan, (horizon,)),
                Column("upper", np.float64, np.nan, (horizon,)),
                Column("chance", np.float64, np.nan),
            ]
        )

    def waits(self, row: int, step: int) -> bool:
        """Return whether a forecast of the series is kept whose last step has not come."""
        begin = int(self.state["begin"][row])
        return begin != _NONE and step < begin + self._horizon

    def keep(self, row: int, step: int, forecast: Forecast, chance: float) -> None:
        """``forecast`` from ``step`` on, as far as the horizon; ``chance`` of an alarm in it."""
        self.state["begin"][row], self.state["chance"][row] = step, chance
        near = slice(0, self._horizon)
        self.state["lower"][row], self.state["upper"][row] = (
            forecast.lower[near],
            forecast.upper[near],
        )

    def judge(self, rows: Longs, steps: Longs, values: Floats) -> tuple[Longs, NDArray[np.bool_]]:
        """Marks the closed ``rows`` with a forecast, and whether its interval held the value."""
        begin = self.state["begin"][rows]
        at = np.where(begin == _NONE, -1, steps - np.where(begin == _NONE, 0, begin))
        known = np.flatnonzero((at >= 0) & (at < self._horizon) & np.isfinite(values))
        row, at, value = rows[known], at[known], values[known]
        inside = (self.state["lower"][row, at] <= value) & (value <= self.state["upper"][row, at])
        return known, inside

    def came(
        self, rows: Longs, steps: Longs, beyond: NDArray[np.bool_]
    ) -> tuple[Longs, Floats, NDArray[np.bool_]]:
        """The closed ``rows`` whose forecast is decided, its probability, whether it came true."""
        chance, begin = self.state["chance"][rows], self.state["begin"][rows]
        open_ = np.isfinite(chance)
        left = np.where(open_, begin, 0) + self._horizon - 1 - steps
        came = beyond & (left >= 0)
        known = np.flatnonzero(open_ & (came | (left <= 0)))
        self.state["chance"][rows[known]] = np.nan
        return known, chance[known], came[known]

    def snapshot(self) -> dict[str, Array]:
        """The columns as arrays by name, for a snapshot."""
        return self.state.snapshot()

    def restore(self, arrays: Mapping[str, Array], size: int) -> None:
        """Take the columns of a snapshot; ValueError if they do not fit."""
        # Snapshots of before have no probabilities.
        self.state.restore({"chance": np.full(size, np.nan), **arrays}, size)
