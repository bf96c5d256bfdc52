"""First-hour average (Skyline): are the newest three points far from the same hour a day before?

Anomalous iff the mean of the newest three points lies more than ``sigmas`` = 3 sample standard
deviations from the mean of the first hour of the last ``hours`` = 24 hours. A series whose steps
are long has few points in an hour: ``first_hours`` takes more of them. Fewer than ``min_points``
there, so also a series younger than a day: cannot judge.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from services.detector.detectors.base import Tick, Votes, detector
from services.detector.detectors.windows import TailOfHours
from shared.columns import Columns


@detector
class FirstHourAverage(TailOfHours):
    """Skyline's: compares the newest three points with the first hour of the last 24."""

    NAME: ClassVar[str] = "first_hour_average"

    first_hours: int = Field(
        1, ge=1, description="The number of hours at its beginning that are the reference."
    )
    sigmas: float = Field(
        3.0, gt=0, description="A distance of more standard deviations is anomalous."
    )
    min_points: int = Field(
        4, ge=2, description="With fewer points in those hours, nothing is judged."
    )

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.first_hours >= self.hours:
            msg = f"first_hours {self.first_hours} must be fewer than hours {self.hours}"
            raise ValueError(msg)
        return self

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the mean of three with the first hour's."""
        first = self._hours.first(state, tick.rows, tick.time_ms, self.first_hours)
        return self.compared(state, tick, first, self.sigmas, self.min_points)

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the means and the limit."""
        return (
            f"the mean of the newest three points, {numbers['tail']:.6g} (now "
            f"{numbers['value']:.6g}), against {numbers['mean']:.6g}, that of the first "
            f"{self.first_hours} of {self.hours} hours: up to {numbers['limit']:.6g} away is usual"
        )
