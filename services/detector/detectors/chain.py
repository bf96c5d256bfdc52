"""Chain (same moment on past days): is the point outside what this moment has ever seen?

Over the same moment on the past ``days`` days: drop iff ``x < min(xi)*min_threshold``, rise iff
``x > max(xi)*max_threshold``. "The same moment" is a slot of the day; a day's slot contributes its
least and largest value. For negative extremes the factors are applied so that they widen the
range, as they do for positive ones. Fewer than ``min_days`` days: cannot judge.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors.base import Tick, Votes, detector, votes
from services.detector.detectors.windows import OfDays
from shared.columns import Column, Columns


@detector
class Chain(OfDays):
    """Detects a value outside the range of this time of day; for series with a daily rhythm."""

    NAME: ClassVar[str] = "chain"
    KEPT: ClassVar[int] = 2

    min_threshold: float = Field(
        0.8,
        gt=0,
        le=1,
        description="A value below this share of the smallest past value is anomalous.",
    )
    max_threshold: float = Field(
        1.2, ge=1, description="A value above this multiple of the largest past value is anomalous."
    )
    floor_absolute: float = Field(
        0.01, gt=0, description="The smallest margin, in the item's unit."
    )

    def columns(self) -> list[Column]:
        """Largest values and largest negative values (the minima) of past moments."""
        return self._daily.columns()

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare with the widened range of this moment."""
        bound, past = self._daily.look_up(state, tick.rows, tick.local_ms)
        highest, lowest = bound[:, 0], -bound[:, 1]
        floor = np.maximum(self.floor_absolute, tick.floor)
        below = np.maximum((1 - self.min_threshold) * np.abs(lowest), floor)
        over = np.maximum((self.max_threshold - 1) * np.abs(highest), floor)
        lower, upper = lowest - below, highest + over
        with np.errstate(invalid="ignore"):
            rise, drop = tick.values > upper, tick.values < lower
        return votes(
            (past >= self.min_days) & ~tick.holiday,
            rise | drop,
            np.where(rise, 1.0, -1.0),
            value=tick.values,
            lower=lower,
            upper=upper,
            lowest=lowest,
            highest=highest,
            days=past,
        )

    def learn(self, state: Columns, tick: Tick) -> None:
        """Widen today's range of this moment."""
        if tick.holiday.any():
            tick = tick.select(~tick.holiday)
        lanes = np.column_stack([tick.values, -tick.values])
        self._daily.add(state, tick.rows, tick.local_ms, lanes)

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the value and the range of the moment."""
        return (
            f"at this time of day the past {numbers['days']:.0f} days lay between "
            f"{numbers['lowest']:.6g} and {numbers['highest']:.6g}, so {numbers['lower']:.6g} to "
            f"{numbers['upper']:.6g} is usual; now {numbers['value']:.6g}"
        )
