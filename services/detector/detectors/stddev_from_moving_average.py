"""Standard deviation from moving average (Skyline): is the point far from the weighted mean?

Weights fall by ``1 - a`` a point, ``a = 1/(1 + com)``, com = 50, and are normalised to 1 from the
first point on. Anomalous iff the point lies more than ``sigmas`` = 3 weighted standard deviations
from the weighted mean of the points before it. The variance is unbiased: the weighted mean square
times ``(sum w)^2 / ((sum w)^2 - sum w^2)``, as pandas has it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors import tail
from services.detector.detectors.base import Detector, Tick, Votes, detector, votes
from shared.columns import Column, Columns


@detector
class StddevFromMovingAverage(Detector):
    """Skyline's: compares the newest point with an exponentially weighted mean and deviation."""

    NAME: ClassVar[str] = "stddev_from_moving_average"

    com: float = Field(
        50, gt=0, le=100_000, description="The centre of mass of the weights, in points."
    )
    sigmas: float = Field(
        3.0, gt=0, description="A distance of more standard deviations is anomalous."
    )
    min_points: int = Field(
        20, ge=2, description="With fewer points of history, nothing is judged."
    )

    def columns(self) -> list[Column]:
        """Sum of weights and of their squares, mean, sum of squares about it, points learned."""
        return [
            Column("weight", np.float64),
            Column("weight2", np.float64),
            Column("mean", np.float64),
            Column("square", np.float64),
            Column("learned", np.int32),
        ]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the distance from the mean with the deviation."""
        rows = tick.rows
        mean, weight = state["mean"][rows].copy(), state["weight"][rows]
        free = weight - state["weight2"][rows] / np.maximum(weight, 1e-300)
        sigma = np.sqrt(np.where(free > 0, state["square"][rows] / np.where(free > 0, free, 1), 0))
        limit, away = np.maximum(self.sigmas * sigma, tick.floor), tick.values - mean
        return votes(
            (state["learned"][rows] >= self.min_points) & ~tick.broken,
            tail.beyond(away, limit, mean),
            away,
            value=tick.values,
            mean=mean,
            sigma=sigma,
            limit=limit,
        )

    def learn(self, state: Columns, tick: Tick) -> None:
        """Let all weights fall and add the point with weight 1 (West 1979)."""
        rows, keep = tick.rows, self.com / (1 + self.com)
        weight = keep * state["weight"][rows] + 1
        away = tick.values - state["mean"][rows]
        moved = away / weight
        state["square"][rows] = keep * state["square"][rows] + away * (away - moved)
        state["mean"][rows] += moved
        state["weight"][rows] = weight
        state["weight2"][rows] = keep * keep * state["weight2"][rows] + 1
        state["learned"][rows] = np.minimum(state["learned"][rows] + 1, 1_000_000_000)

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the value, the mean and the limit."""
        return (
            f"{numbers['value']:.6g} is {abs(numbers['value'] - numbers['mean']):.6g} from the "
            f"moving average {numbers['mean']:.6g}; up to {numbers['limit']:.6g} is usual (sigma "
            f"{numbers['sigma']:.6g})"
        )
