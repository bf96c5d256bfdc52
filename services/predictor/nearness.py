"""Finds the series that are near enough to their threshold to be worth a forecast.

Kept in a few numbers a series, updated when a step closes, for all series at once. A series is far
when either bound on where it can get within the horizon stays clear of the threshold: three
deviations of a random walk with the series' steps, or its recent extreme, stretched by half its
distance from the mean and by the trend. A random walk may go anywhere but slowly; what swings
around a level jumps, but not beyond where it has been. What is far costs a microsecond, not the
half millisecond of a model, so that a million series can be watched.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.predictor.forecasters.base import Floats
from shared.columns import Array, Column, Columns

_SLOW_WEIGHT, _FAST_WEIGHT = 1 / 168, 1 / 12
_DEVIATIONS = 3.0
_STRETCH = 0.5
_MIN_POINTS = 24
"""Points before which the extreme says nothing."""


class Nearness:
    """The columns of a partition's series; values are signed so that the threshold lies above."""

    def __init__(self) -> None:
        self.state = Columns(
            [
                Column("points", np.int64),
                Column("last", np.float64),
                Column("mean", np.float64),
                Column("extreme", np.float64),
                Column("square", np.float64),
                Column("slow", np.float64),
                Column("fast", np.float64),
            ]
        )

    def update(self, rows: NDArray[np.int64], values: Floats) -> None:
        """A step of distinct ``rows`` closed with finite signed ``values``."""
        state = self.state
        points = state["points"][rows] + 1
        new = points == 1
        step = np.where(new, 0.0, values - state["last"][rows])
        slow, fast = np.maximum(_SLOW_WEIGHT, 1 / points), np.maximum(_FAST_WEIGHT, 1 / points)
        mean = state["mean"][rows]
        mean += slow * (values - mean)
        extreme = state["extreme"][rows]
        extreme = np.where(new, values, np.maximum(values, extreme - slow * (extreme - mean)))
        for name, weight, now in (
            ("square", slow, step * step),
            ("slow", slow, step),
            ("fast", fast, step),
        ):
            before = state[name][rows]
            state[name][rows] = before + weight * (now - before)
        state["points"][rows], state["last"][rows] = points, values
        state["mean"][rows], state["extreme"][rows] = mean, extreme

    def near(
        self, rows: NDArray[np.int64], limits: Floats, ahead: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return whether the signed ``limits`` can be reached within ``ahead`` steps."""
        state = self.state
        last, deviation = state["last"][rows], np.sqrt(state["square"][rows])
        slow, fast = np.maximum(0, state["slow"][rows]), np.maximum(0, state["fast"][rows])
        walk = last + ahead * np.maximum(slow, fast) + _DEVIATIONS * deviation * np.sqrt(ahead)
        extreme = state["extreme"][rows]
        span = extreme + _STRETCH * (extreme - state["mean"][rows]) + ahead * slow
        # A new extreme reached by a steady rise: a trend has begun.
        rising = (last >= extreme) & (fast > deviation * np.sqrt(_FAST_WEIGHT))
        span = np.where(rising, span + ahead * fast, span)
        span[state["points"][rows] < _MIN_POINTS] = np.inf
        return np.asarray(np.minimum(walk, span) >= limits)

    def snapshot(self) -> dict[str, Array]:
        """The columns as arrays by name, for a snapshot."""
        return self.state.snapshot()

    def restore(self, arrays: Mapping[str, Array], size: int) -> None:
        """Take the columns of a snapshot; ValueError if they do not fit."""
        self.state.restore(arrays, size)
