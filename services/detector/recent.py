"""The newest points of each series, for the plot in a notification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.columns import Column, Columns, Rows, indices
from shared.contracts.alerts import Point, curve_of

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class Recent:
    """A ring of (time, value) a series; values in single precision, which a plot cannot show."""

    def __init__(self, points: int) -> None:
        self._points = points
        self.state = Columns(
            [
                Column("time_ms", np.int64, 0, (points,)),
                Column("value", np.float32, np.nan, (points,)),
                Column("added", np.int64),
            ]
        )

    def add(self, rows: Rows, time_ms: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Take in one point a series."""
        added = self.state["added"][rows]
        # Kept as infinite, a value beyond single precision would end every event of its series.
        values = np.clip(values, -_MAX_FLOAT32, _MAX_FLOAT32)
        at = (indices(rows), added % self._points)
        # A staleness marker is a signalling NaN, which numpy warns of when it is converted.
        with np.errstate(invalid="ignore"):
            self.state["time_ms"][at], self.state["value"][at] = time_ms, values
        self.state["added"][rows] = added + 1

    def points(self, row: int) -> tuple[Point, ...]:
        """The points of a series that have a value, oldest first."""
        times, values = self.state["time_ms"][row], self.state["value"][row]
        held = np.flatnonzero((times != 0) & ~np.isnan(values))
        order = held[np.argsort(times[held], kind="stable")]
        return curve_of(times[order].tolist(), values[order].tolist())
