"""Standard deviation from average (Skyline): are the newest three points far from the day's mean?

Anomalous iff the mean of the newest three points lies more than ``sigmas`` = 3 sample standard
deviations from the mean of the last ``hours`` = 24 hours. Skyline's own code counts the newest
point as part of that day; here, as everywhere in this package, the checked point is not history.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors import tail
from services.detector.detectors.base import Tick, Votes, detector, votes
from services.detector.detectors.windows import TailOfHours
from services.detector.hourly import N, Y, deviation
from shared.columns import Columns


@detector
class StddevFromAverage(TailOfHours):
    """Skyline's: the newest three points against the mean of 24 hours."""

    NAME: ClassVar[str] = "stddev_from_average"

    sigmas: float = Field(3.0, gt=0, description="How many standard deviations are too many.")
    min_points: int = Field(20, ge=2, description="Points in the window before anything is judged.")

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the mean of three with the window's."""
        window = self._hours.window(state, tick.rows, tick.time_ms)
        newest, whole = tail.mean(state, tick)
        mean, limit = window[:, Y], np.fmax(self.sigmas * deviation(window), tick.floor)
        away = newest - mean
        return votes(
            whole & (window[:, N] >= self.min_points),
            tail.beyond(away, limit, mean),
            away,
            value=tick.values,
            tail=newest,
            mean=mean,
            limit=limit,
        )

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the means and the limit."""
        return (
            f"the mean of the newest three points, {numbers['tail']:.6g} (now "
            f"{numbers['value']:.6g}), against {numbers['mean']:.6g}, the mean of "
            f"{self.hours} hours: up to {numbers['limit']:.6g} away is usual"
        )
