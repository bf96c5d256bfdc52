"""The newest points of each series, for the plot in a notification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.columns import Column, Columns, Rows, indices
from shared.contracts.alerts import Point, curve_of

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


_MOST_MS = int(np.iinfo(np.uint32).max)
"""Seven weeks: points before a longer gap belong to another plot."""


class Recent:
    """A ring of (time since the point before, value) a series, half as large as one of times.

    Values are in single precision, which a plot cannot show.
    """

    def __init__(self, points: int) -> None:
        self._points = points
        self.state = Columns(
            [
                Column("since_ms", np.uint32, 0, (points,), added=True),
                Column("newest_ms", np.int64, added=True),
                Column("value", np.float32, np.nan, (points,)),
                Column("added", np.int64),
            ]
        )

    def add(self, rows: Rows, time_ms: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Take in one point a series, later than its last."""
        added, newest = self.state["added"][rows], self.state["newest_ms"][rows]
        # Kept as infinite, a value beyond single precision would end every event of its series.
        values = np.clip(values, -_MAX_FLOAT32, _MAX_FLOAT32)
        at = (indices(rows), added % self._points)
        self.state["since_ms"][at] = np.clip(time_ms - newest, 1, _MOST_MS)
        # A staleness marker is a signalling NaN, which numpy warns of when it is converted.
        with np.errstate(invalid="ignore"):
            self.state["value"][at] = values
        self.state["newest_ms"][rows], self.state["added"][rows] = time_ms, added + 1

    def points(self, row: int) -> tuple[Point, ...]:
        """The points of a series that have a value, oldest first."""
        added = int(self.state["added"][row])
        newest_first = np.arange(added - 1, max(added - self._points, 0) - 1, -1) % self._points
        since = self.state["since_ms"][row, newest_first].astype(np.int64)
        # Points of snapshots from before these columns have no time, and end the plot, too.
        ends = np.flatnonzero((since == 0) | (since == _MOST_MS))
        whole = len(since) if not len(ends) else int(ends[0]) + (since[ends[0]] > 0)
        times = self.state["newest_ms"][row] - np.concatenate([[0], since.cumsum()[:-1]])
        values = self.state["value"][row, newest_first]
        held = np.flatnonzero(~np.isnan(values[:whole]))[::-1]
        return curve_of(times[held].tolist(), values[held].tolist())
