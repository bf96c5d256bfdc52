"""Mean subtraction cumulation (Skyline): is the point far out once the mean is taken away?

The mean of the last ``hours`` = 24 hours, without the newest point, is subtracted from all points;
anomalous iff what is left of the newest is more than ``sigmas`` = 3 sample standard deviations of
the others. (Skyline sums nothing up, whatever the name says.)
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors import tail
from services.detector.detectors.base import Tick, Votes, detector, votes
from services.detector.detectors.windows import OfHours
from services.detector.hourly import N, Y, deviation
from shared.columns import Columns


@detector
class MeanSubtractionCumulation(OfHours):
    """Skyline's: compares the newest point with mean and deviation of 24 hours."""

    NAME: ClassVar[str] = "mean_subtraction_cumulation"

    sigmas: float = Field(
        3.0, gt=0, description="A distance of more standard deviations is anomalous."
    )
    min_points: int = Field(
        20, ge=2, description="With fewer points in the window, nothing is judged."
    )

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare what is left of the point with the deviation."""
        window = self._hours.window(state, tick.rows, tick.time_ms)
        mean, limit = window[:, Y], np.fmax(self.sigmas * deviation(window), tick.floor)
        away = tick.values - mean
        return votes(
            (window[:, N] >= self.min_points) & ~tick.broken,
            tail.beyond(away, limit, mean),
            away,
            value=tick.values,
            mean=mean,
            limit=limit,
        )

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the value, the mean and the limit."""
        return (
            f"{numbers['value']:.6g} is {abs(numbers['value'] - numbers['mean']):.6g} from the "
            f"mean {numbers['mean']:.6g} of {self.hours} hours; up to {numbers['limit']:.6g} is "
            "usual"
        )
