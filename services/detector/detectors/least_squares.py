"""Least squares (Skyline): are the newest three points off the line through the day?

A straight line is fitted to the last ``hours`` = 24 hours by least squares. Anomalous iff the mean
error of the newest three points is more than ``sigmas`` = 3 standard deviations (root mean square)
of the window's errors, and neither rounds to 0: Skyline's guard, which makes it blind to series
whose errors are below half a unit (``rounded`` false lifts it).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors import tail
from services.detector.detectors.base import Floats, Tick, Votes, detector, votes
from services.detector.detectors.windows import TailOfHours
from services.detector.hourly import TT, TY, YY, N, T, Y
from shared.columns import Column, Columns

_HOUR_MS = 3_600_000


@detector
class LeastSquares(TailOfHours):
    """Skyline's: compares the newest three points with the line through 24 hours."""

    NAME: ClassVar[str] = "least_squares"

    sigmas: float = Field(
        3.0, gt=0, description="A distance of more standard deviations is anomalous."
    )
    rounded: bool = Field(True, description="true: an error that rounds to 0 counts as no error.")
    min_points: int = Field(
        20, ge=3, description="With fewer points in the window, nothing is judged."
    )

    def columns(self) -> list[Column]:
        """The window's hours, the last points and their times."""
        return [*super().columns(), Column("last_hours", np.float64, 0, (2,))]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the mean error of three with the usual size of errors."""
        window = self._hours.window(state, tick.rows, tick.time_ms)
        newest, whole = tail.mean(state, tick)
        level, sigma = self._line(window, state, tick)
        away, limit = newest - level, np.maximum(self.sigmas * sigma, tick.floor)
        large = tail.beyond(away, limit, level)
        if self.rounded:
            large &= (np.rint(away) != 0) & (np.rint(sigma) != 0)
        return votes(
            whole & (window[:, N] >= self.min_points),
            large,
            away,
            value=tick.values,
            tail=newest,
            line=level,
            sigma=sigma,
            limit=limit,
        )

    @staticmethod
    def _line(window: Floats, state: Columns, tick: Tick) -> tuple[Floats, Floats]:
        """The line at the middle of the newest three points, and the root mean square error."""
        slope = window[:, TY] / np.where(window[:, TT] > 0, window[:, TT], np.inf)
        hours = (state["last_hours"][tick.rows].sum(axis=1) + tick.time_ms / _HOUR_MS) / 3
        left = np.maximum(window[:, YY] - slope * window[:, TY], 0)
        level = window[:, Y] + slope * (hours - window[:, T])
        return level, np.sqrt(left / np.maximum(window[:, N], 1))

    def learn(self, state: Columns, tick: Tick) -> None:
        """Add the points to the window."""
        super().learn(state, tick)
        last = state["last_hours"]
        last[tick.rows, 0] = last[tick.rows, 1]
        last[tick.rows, 1] = tick.time_ms / _HOUR_MS

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the mean, the line and the limit."""
        return (
            f"the mean of the newest three points, {numbers['tail']:.6g} (now "
            f"{numbers['value']:.6g}), where the line through {self.hours} hours has "
            f"{numbers['line']:.6g}: up to {numbers['limit']:.6g} off is usual"
        )
