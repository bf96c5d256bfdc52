"""Amplitude (CA): is the step from the previous point larger than ever at this moment?

``amp(t) = (x(t) - x(t-1)) / x(t-1)``; anomalous iff ``abs(amp(now)) > A*threshold``, A = the
largest absolute amplitude at the same moment on the past ``days`` days. Catches a dip on a day
that is far above history, which chain misses. ``x(t-1) = 0``, a missing previous point and fewer
than ``min_days`` days: cannot judge. A is never taken below ``floor`` (a constant history gives 0).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.detectors.base import (
    Bools,
    Floats,
    Tick,
    Votes,
    detector,
    votes,
)
from services.detector.detectors.windows import OfDays
from shared.columns import Column, Columns, indices


@detector
class Amplitude(OfDays):
    """Detects a step larger than ever at this time of day; for series with a daily rhythm."""

    NAME: ClassVar[str] = "amplitude"
    KEPT: ClassVar[int] = 1

    threshold: float = Field(
        1.5, gt=0, description="A step beyond this multiple of the largest past step is anomalous."
    )
    floor: float = Field(0.05, gt=0, description="The largest past step counts as at least this.")

    def columns(self) -> list[Column]:
        """The previous point, and the largest amplitudes of past moments."""
        return [Column("previous", np.float64, np.nan), *self._daily.columns()]

    def _amplitude(self, state: Columns, tick: Tick) -> tuple[Floats, Bools]:
        previous = state["previous"][tick.rows]
        usable = ~np.isnan(previous) & (previous != 0) & (tick.missing == 0) & ~tick.broken
        # abs: for a negative series the sign must still say which way the value went.
        base = np.where(usable, np.abs(previous), 1.0)
        return np.where(usable, (tick.values - previous) / base, np.nan), usable

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare the step's relative size with the largest of this moment."""
        bound, past = self._daily.look_up(state, tick.rows, tick.local_ms)
        amplitude, usable = self._amplitude(state, tick)
        limit = self.threshold * np.fmax(bound[:, 0], self.floor)
        with np.errstate(invalid="ignore"):
            step = np.abs(tick.values - state["previous"][tick.rows])
            large = (np.abs(amplitude) > limit) & (step >= tick.floor)
        return votes(
            usable & (past >= self.min_days) & ~tick.holiday,
            large,
            amplitude,
            value=tick.values,
            previous=state["previous"][tick.rows].copy(),
            amplitude=amplitude,
            largest=bound[:, 0],
            limit=limit,
            days=past,
        )

    def learn(self, state: Columns, tick: Tick) -> None:
        """Remember the amplitude for later days, and the point for the next one."""
        amplitude, _ = self._amplitude(state, tick)
        usual = ~tick.holiday
        rows, steps = indices(tick.rows)[usual], np.abs(amplitude[usual])[:, None]
        self._daily.add(state, rows, tick.local_ms[usual], steps)
        state["previous"][tick.rows] = tick.values

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the step and the largest one of the moment."""
        return (
            f"a step of {numbers['amplitude']:+.1%} (from {numbers['previous']:.6g} to "
            f"{numbers['value']:.6g}); at this time of day the largest of the past "
            f"{numbers['days']:.0f} days was {numbers['largest']:.1%}, up to "
            f"{numbers['limit']:.1%} is usual"
        )
