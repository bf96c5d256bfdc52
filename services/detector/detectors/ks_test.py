"""Kolmogorov-Smirnov test (Skyline): are the newest points distributed otherwise than before?

The newest ``probe`` points against the ``reference`` points before them (Skyline's last 10 minutes
against the 50 before, at its step of 10 seconds). Anomalous iff the largest distance D of the two
empirical distributions is more than 0.5, the two-sample test's p is under ``alpha`` = 0.05, and the
reference is stationary: the augmented Dickey-Fuller test with up to 10 lags rejects a unit root at
the 5 % level. Direction from the medians.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors.base import Detector, Tick, Votes, detector, votes
from shared.columns import Column, Columns, indices


@detector
class KsTest(Detector):
    """Skyline's: tests whether the newest points are distributed like those before them."""

    NAME: ClassVar[str] = "ks_test"

    probe: int = Field(
        60, ge=20, le=10_000, description="The number of newest points, including the judged one."
    )
    reference: int = Field(300, ge=20, le=10_000, description="The number of points before them.")
    distance: float = Field(0.5, ge=0, lt=1, description="The distance D must be larger than this.")
    alpha: float = Field(0.05, gt=0, lt=1, description="The significance level of D.")
    lags: int = Field(
        10, ge=0, le=100, description="The largest number of lags of the Dickey-Fuller test."
    )

    def columns(self) -> list[Column]:
        """Both stretches in order of time, and each by value."""
        return [
            Column("ring", np.float32, np.nan, (self.reference + self.probe,)),
            Column("before", np.float32, np.nan, (self.reference,)),
            Column("newest", np.float32, np.nan, (self.probe,)),
            Column("seen", np.int64),
        ]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the distributions as they are with the point."""
        from services.detector.detectors import ks_kernel

        found = np.empty((len(tick), 4))
        ks_kernel.judge(
            state["ring"],
            state["before"],
            state["newest"],
            state["seen"],
            indices(tick.rows),
            tick.values,
            np.array([self.distance, self.alpha]),
            self.lags,
            found,
        )
        distance, p, stationary, lead = found.T
        judged = (state["seen"][tick.rows] >= self.reference + self.probe) & ~tick.broken
        large = (distance > self.distance) & (p < self.alpha) & (stationary > 0)
        large &= np.abs(lead) >= tick.floor
        return votes(judged, large, lead, value=tick.values, score=distance, tail=lead)

    def learn(self, state: Columns, tick: Tick) -> None:
        """Move both stretches on by the point."""
        from services.detector.detectors import ks_kernel

        ks_kernel.learn(
            state["ring"],
            state["before"],
            state["newest"],
            state["seen"],
            indices(tick.rows),
            tick.values,
        )

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the distance and how the medians differ."""
        return (
            f"the newest {self.probe} points (the last {numbers['value']:.6g}) are distributed "
            f"otherwise than the {self.reference} before: D = {numbers['score']:.3f} (up to "
            f"{self.distance:g} is usual), their median is {numbers['tail']:+.6g} away"
        )
