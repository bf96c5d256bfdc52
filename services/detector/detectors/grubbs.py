"""Grubbs' test (Skyline): would the newest three points be an outlier of a normal sample?

``Z = abs(tail - mean) / s`` with the mean of the newest three points and mean and sample deviation
of the last ``hours`` = 24 hours (N points); anomalous iff Z exceeds Grubbs' critical value
``(N-1)/sqrt(N) * sqrt(t^2 / (N - 2 + t^2))``, t the upper ``alpha/(2N)`` point of Student's
distribution with N - 2 degrees of freedom. That is the two-sided test; Skyline's own code looks
only at what lies above the mean.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors.base import Floats, Tick, Votes, detector
from services.detector.detectors.windows import TailOfHours
from services.detector.hourly import N
from shared.columns import Columns

_MIN_VALUES = 20
"""Points from which on the expansion of Student's quantile is good to four places."""


@lru_cache(maxsize=100_000)
def student(upper: float, freedom: float) -> float:
    """The upper quantile of Student's distribution, by Fisher and Cornish's expansion (1960)."""
    z = -NormalDist().inv_cdf(upper)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92_160 * freedom**4)
    )


@detector
class Grubbs(TailOfHours):
    """Skyline's: tests whether the newest three points are an outlier of 24 hours."""

    NAME: ClassVar[str] = "grubbs"

    alpha: float = Field(0.05, gt=0, lt=1, description="The significance level.")
    min_points: int = Field(
        20, ge=_MIN_VALUES, description="With fewer points of history, nothing is judged."
    )

    def critical(self, n: Floats) -> Floats:
        """Grubbs' critical value (n,) of samples of ``n`` points."""
        sizes, place = np.unique(np.maximum(n, _MIN_VALUES), return_inverse=True)
        t2 = np.array([student(self.alpha / (2 * m), m - 2) for m in sizes.tolist()]) ** 2
        values: Floats = (sizes - 1) / np.sqrt(sizes) * np.sqrt(t2 / (sizes - 2 + t2))
        return values[place]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the distance in deviations with the critical value."""
        window = self._hours.window(state, tick.rows, tick.time_ms)
        n = window[:, N]
        critical = self.critical(n)
        return self.compared(
            state, tick, window, critical, self.min_points, critical=critical, points=n
        )

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the mean, the critical value and the limit."""
        return (
            f"the mean of the newest three points, {numbers['tail']:.6g} (now "
            f"{numbers['value']:.6g}), against {numbers['mean']:.6g}: Grubbs' test allows "
            f"{numbers['limit']:.6g}, {numbers['critical']:.3f} deviations of "
            f"{numbers['points']:.0f} points"
        )
