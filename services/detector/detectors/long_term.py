"""Long-term ratio (LS): is the point far from the exponentially weighted mean (EWMA)?

``E(1) = x(1)``, ``E(i) = a*x(i) + (1-a)*E(i-1)``, a = 1/21; anomalous iff
``abs(x - E) > 3*sigma``, where E is the mean *before* the point and sigma the root mean square of
the residuals ``x - E``: a plain mean while young, then weighted exponentially with ``memory``.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors.base import Detector, Tick, Votes, detector, votes
from shared.columns import Column, Columns


@detector
class LongTerm(Detector):
    """Detects a departure from the level; for series without a daily rhythm."""

    NAME: ClassVar[str] = "long_term"

    a: float = Field(1 / 21, gt=0, le=1, description="The weight of the newest point in the mean.")
    sigmas: float = Field(3.0, gt=0, description="A distance of more sigma is anomalous.")
    memory: int = Field(
        1440, ge=2, description="The number of points over which sigma is averaged."
    )
    min_points: int = Field(
        120, ge=2, description="With fewer points of history, nothing is judged."
    )
    settle: int = Field(
        21, ge=1, description="The number of points after a gap that are not judged."
    )
    floor_absolute: float = Field(
        0.01, gt=0, description="A smaller distance, in the item's unit, is never anomalous."
    )
    floor_relative: float = Field(
        0.05, ge=0, description="A smaller distance, as a share of abs(mean), is never anomalous."
    )

    def columns(self) -> list[Column]:
        """Mean, mean square of residuals, points learned, points since the last gap."""
        return [
            Column("mean", np.float64),
            Column("square", np.float64),
            Column("learned", np.int32),
            Column("run", np.int32),
        ]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the distance from the mean with its usual size."""
        rows = tick.rows
        mean = state["mean"][rows].copy()
        sigma = np.sqrt(state["square"][rows])
        floor = np.maximum(self.floor_absolute, self.floor_relative * np.abs(mean))
        limit = np.maximum(self.sigmas * sigma, np.maximum(floor, tick.floor))
        away = tick.values - mean
        judged = (
            (state["learned"][rows] >= self.min_points)
            & (state["run"][rows] >= self.settle)
            & ~tick.broken
        )
        return votes(
            judged,
            np.abs(away) > limit,
            away,
            value=tick.values,
            mean=mean,
            sigma=sigma,
            limit=limit,
        )

    def learn(self, state: Columns, tick: Tick) -> None:
        """Move the mean by ``a`` of the residual; after a gap it starts again at the point."""
        rows = tick.rows
        mean, learned, run = state["mean"][rows], state["learned"][rows], state["run"][rows]
        fresh = tick.broken | (run == 0)
        away = np.where(fresh, 0.0, tick.values - mean)
        # x + a*0 and not a*x + (1-a)*x: a constant series must keep its mean to the last bit.
        state["mean"][rows] = np.where(fresh, tick.values, mean + self.a * away)
        # The first point after a start has no residual.
        residuals = np.maximum(learned, 1)
        weight = np.where(fresh, 0.0, np.maximum(1 / residuals, 1 / self.memory))
        square = state["square"][rows]
        state["square"][rows] = square + weight * (away * away - square)
        state["learned"][rows] = learned + (~fresh | (learned == 0))
        state["run"][rows] = np.where(fresh, 1, np.minimum(run + 1, self.settle))

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the value, the mean and the limit."""
        return (
            f"{numbers['value']:.6g} is {abs(numbers['value'] - numbers['mean']):.6g} from the "
            f"long-term mean {numbers['mean']:.6g}; up to {numbers['limit']:.6g} is usual "
            f"(sigma {numbers['sigma']:.6g})"
        )
