"""Standard deviation from average (Skyline): are the newest three points far from the day's mean?

Anomalous iff the mean of the newest three points lies more than ``sigmas`` = 3 sample standard
deviations from the mean of the last ``hours`` = 24 hours. Skyline's own code counts the newest
point as part of that day; here, as everywhere in this package, the checked point is not history.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.detector.detectors.base import Tick, Votes, detector
from services.detector.detectors.windows import TailOfHours
from shared.columns import Columns


@detector
class StddevFromAverage(TailOfHours):
    """Skyline's: compares the newest three points with the mean of 24 hours."""

    NAME: ClassVar[str] = "stddev_from_average"

    sigmas: float = Field(
        3.0, gt=0, description="A distance of more standard deviations is anomalous."
    )
    min_points: int = Field(
        20, ge=2, description="With fewer points in the window, nothing is judged."
    )

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the mean of three with the window's."""
        window = self._hours.window(state, tick.rows, tick.time_ms)
        return self.compared(state, tick, window, self.sigmas, self.min_points)

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the means and the limit."""
        return (
            f"the mean of the newest three points, {numbers['tail']:.6g} (now "
            f"{numbers['value']:.6g}), against {numbers['mean']:.6g}, the mean of "
            f"{self.hours} hours: up to {numbers['limit']:.6g} away is usual"
        )
