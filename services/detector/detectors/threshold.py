"""Threshold: is the value beyond the item's static alarm threshold (see ``shared.items``)?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.detector.detectors.base import Detector, Tick, Votes, detector, votes
from shared.columns import Column, Columns


@detector
class Threshold(Detector):
    """Compares with the static alarm threshold of the item; needs no history."""

    NAME: ClassVar[str] = "threshold"

    def columns(self) -> list[Column]:
        """Nothing is remembered."""
        return []

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Compare with the threshold on its side."""
        away = tick.values - tick.limit
        with np.errstate(invalid="ignore"):
            beyond = np.where(tick.above, away > 0, away < 0)
        return votes(~np.isnan(tick.limit), beyond, away, value=tick.values, threshold=tick.limit)

    def learn(self, state: Columns, tick: Tick) -> None:
        """Nothing is remembered."""

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the value and the threshold."""
        side = "above" if numbers["value"] > numbers["threshold"] else "not above"
        side = "below" if numbers["value"] < numbers["threshold"] else side
        return f"{numbers['value']:.6g} is {side} the alarm threshold of {numbers['threshold']:.6g}"
