"""First-hour average (Skyline): are the newest three points far from the same hour a day before?

Anomalous iff the mean of the newest three points lies more than ``sigmas`` = 3 sample standard
deviations from the mean of the first hour of the last ``hours`` = 24 hours. A series whose steps
are long has few points in an hour: ``first_hours`` takes more of them. Fewer than ``min_points``
there, so also a series younger than a day: cannot judge.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from services.detector.detectors import tail
from services.detector.detectors.base import Tick, Votes, detector, votes
from services.detector.detectors.windows import TailOfHours
from services.detector.hourly import N, Y, deviation
from shared.columns import Columns


@detector
class FirstHourAverage(TailOfHours):
    """Skyline's: the newest three points against the first hour of the last 24."""

    NAME: ClassVar[str] = "first_hour_average"

    first_hours: int = Field(1, ge=1, description="Hours at its beginning compared with.")
    sigmas: float = Field(3.0, gt=0, description="How many standard deviations are too many.")
    min_points: int = Field(4, ge=2, description="Points in those hours before anything is judged.")

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.first_hours >= self.hours:
            msg = f"first_hours {self.first_hours} must be fewer than hours {self.hours}"
            raise ValueError(msg)
        return self

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the mean of three with the first hour's."""
        first = self._hours.first(state, tick.rows, tick.time_ms, self.first_hours)
        newest, whole = tail.mean(state, tick)
        mean, limit = first[:, Y], np.fmax(self.sigmas * deviation(first), tick.floor)
        away = newest - mean
        return votes(
            whole & (first[:, N] >= self.min_points),
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
            f"{numbers['value']:.6g}), against {numbers['mean']:.6g}, that of the first "
            f"{self.first_hours} of {self.hours} hours: up to {numbers['limit']:.6g} away is usual"
        )
