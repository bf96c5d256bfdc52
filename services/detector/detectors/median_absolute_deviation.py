"""Median absolute deviation (Skyline): is the point far from the median, in median distances?

Anomalous iff the point's distance from the median of the last ``window`` points is more than
``times`` = 6 median absolute deviations from that median. Where more than half of the points are
the same, the deviation is 0 and nothing is an anomaly.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors.base import Tick, Votes, detector, votes
from services.detector.detectors.windows import OfPoints
from shared.columns import Columns, indices


@detector
class MedianAbsoluteDeviation(OfPoints):
    """Skyline's: compares the newest point with the median of the window."""

    NAME: ClassVar[str] = "median_absolute_deviation"

    times: float = Field(
        6.0, gt=0, description="A distance of more median absolute deviations is anomalous."
    )
    min_points: int = Field(
        20, ge=3, description="With fewer points in the window, nothing is judged."
    )

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the distance from the median with the median distance."""
        from services.detector import order

        median, deviation = np.empty(len(tick)), np.empty(len(tick))
        order.medians(state["ordered"], state["seen"], indices(tick.rows), median, deviation)
        away = tick.values.astype(np.float32) - median
        limit = np.fmax(self.times * deviation, tick.floor)
        with np.errstate(invalid="ignore"):
            large = (np.abs(away) > limit) & (deviation > 0)
        return votes(
            (state["seen"][tick.rows] >= self.min_points) & ~tick.broken,
            large,
            away,
            value=tick.values,
            median=median,
            deviation=deviation,
            limit=limit,
        )

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the value, the median and the limit."""
        return (
            f"{numbers['value']:.6g} is {abs(numbers['value'] - numbers['median']):.6g} from the "
            f"median {numbers['median']:.6g}, half of the points are within "
            f"{numbers['deviation']:.6g}: up to {numbers['limit']:.6g} is usual"
        )
