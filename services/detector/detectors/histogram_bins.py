"""Histogram bins (Skyline): do hardly any points lie where the newest three do?

The last ``window`` points are counted in ``bins`` = 15 bins of one width; anomalous iff the mean of
the newest three points falls into a bin with at most ``few`` = 20 points. Outside all bins there is
none. ``min_points`` must be well above ``bins * few``, or every bin has few.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors import tail
from services.detector.detectors.base import Tick, Votes, detector, votes
from services.detector.detectors.windows import OfPoints
from shared.columns import Column, Columns, indices


@detector
class HistogramBins(OfPoints):
    """Skyline's: tests whether the newest three points lie where points usually do."""

    NAME: ClassVar[str] = "histogram_bins"

    bins: int = Field(
        15,
        ge=2,
        le=1000,
        description="The number of bins between the smallest and the largest value.",
    )
    few: int = Field(
        20, ge=0, description="Values in a bin with at most so many points are anomalous."
    )
    min_points: int = Field(
        360, ge=3, description="With fewer points in the window, nothing is judged."
    )

    def columns(self) -> list[Column]:
        """The window in order of time and of value, and the last points."""
        return [*super().columns(), *tail.COLUMNS]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Count the points in the bin of the newest three's mean."""
        from services.detector import order

        newest, whole = tail.mean(state, tick)
        found = np.empty((len(tick), 3))
        rows = indices(tick.rows)
        order.bins(state["ordered"], state["seen"], rows, newest, self.bins, found)
        held = np.minimum(state["seen"][tick.rows], self.window)
        half = (state["ordered"][rows, np.maximum(held - 1, 0) // 2]).astype(np.float64)
        rare = (found[:, 0] <= self.few) & (np.abs(newest - half) >= tick.floor)
        return votes(
            whole & (held >= self.min_points),
            rare,
            newest - half,
            value=tick.values,
            tail=newest,
            score=found[:, 0],
            left=found[:, 1],
            right=found[:, 2],
            points=held,
        )

    def learn(self, state: Columns, tick: Tick) -> None:
        """Add the points to the window."""
        super().learn(state, tick)
        tail.keep(state, tick)

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the mean, the bin and how many are in it."""
        return (
            f"the mean of the newest three points, {numbers['tail']:.6g} (now "
            f"{numbers['value']:.6g}), lies between {numbers['left']:.6g} and "
            f"{numbers['right']:.6g}, as {numbers['score']:.0f} of {numbers['points']:.0f} points "
            f"do (up to {self.few} is unusual)"
        )
