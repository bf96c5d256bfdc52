"""Surprise: how rarely has this series done anything like this, by three views of it?

Each view measures how far the point is from one kind of memory (never the point's own): the
nearest value ever seen, the level, this time of day. What a distance means depends on the series,
so each becomes a *rarity*: minus the logarithm of the share of the series' past points with at
least that distance (a conformal p-value); beyond the largest ever, a Pareto tail fitted to the 20
largest (Hill) goes on. The mean of the three rarities is the score, in nats, lifted by a share of
the series' own habit: one that surprises often must surprise more.

A score is told only where nothing in the last ``rest`` points was nearly as high, so that an
episode is told at its onset, once. The threshold comes from the false-alarm budget
``alarms_per_week`` and the series' own step; a young series must surprise more.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from services.detector.detectors.base import Detector, Tick, Votes, detector
from shared.columns import Array, Column, Columns, indices

VIEWS = ("new_value", "level", "time_of_day")
_SAID = {
    "new_value": "the value is far from any seen before",
    "level": "the level of the last 64 points has moved",
    "time_of_day": "it is unusual at this time of day",
}
_NAMES = ("value", "mean", "score", "threshold", "once_in_days", "report", *VIEWS)
"""What the kernel writes of every point, in its order."""
_MEMORY, _COUNTS, _EXACT = 394, 6, 5


@detector
class Surprise(Detector):
    """For any series: the default. Scores mean the same on all of them."""

    NAME: ClassVar[str] = "surprise"

    alarms_per_week: float = Field(
        0.5, gt=0, le=1000, description="False-alarm budget: alarms a series and week."
    )
    min_points: int = Field(100, ge=50, description="Points learned before anything is judged.")
    settled_points: int = Field(
        1000,
        ge=50,
        description="Points learned before its own history is trusted: coarse until then.",
    )
    youth: float = Field(
        1.2, ge=0, description="Until then, what the threshold gains: nats an e-fold fewer points."
    )
    rest: int = Field(
        120, ge=0, le=100_000, description="Points in which only a still higher score is told."
    )
    margin: float = Field(0.5, ge=0, description="How much higher, in nats.")
    lift: float = Field(0.5, ge=0, lt=1, description="Share of the series' own habit held back.")
    floor_absolute: float = Field(0.0, ge=0, description="Least distance, in the item's unit.")
    floor_relative: float = Field(0.0, ge=0, description="Least distance, share of abs(mean).")
    direction: Literal["both", "spike", "drop"] = Field(
        "both", description="Which departures from the mean are told."
    )

    def columns(self) -> list[Column]:
        """What the kernel keeps: 1.6 kB a series."""
        return [
            Column("memory", np.float32, np.nan, (_MEMORY,)),
            Column("counts", np.int32, 0, (_COUNTS,)),
            Column("exact", np.float64, 0, (_EXACT,)),
        ]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Score by the memories as they are."""
        return self._run(state, tick, learning=False)

    def learn(self, state: Columns, tick: Tick) -> None:
        """Make the points part of the memories."""
        self.step(state, tick)

    def step(self, state: Columns, tick: Tick) -> Votes:
        """Judge and learn in one pass."""
        known = ~np.isnan(tick.values)
        if not known.all():
            return self._run(state, tick.select(known), learning=True).spread(known)
        return self._run(state, tick, learning=True)

    def _run(self, state: Columns, tick: Tick, *, learning: bool) -> Votes:
        from services.detector.detectors import surprise_kernel as compiled  # noqa: PLC0415

        rules = compiled.Rules(
            self.lift,
            self.rest,
            self.margin,
            self.floor_absolute,
            self.floor_relative,
            self.alarms_per_week,
            self.min_points,
            self.settled_points,
            self.youth,
            self.direction != "drop",
            self.direction != "spike",
        )
        n = len(tick)
        numbers, direction = np.empty((n, len(_NAMES))), np.empty(n, dtype=np.int8)
        judged, coarse = np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.bool_)
        compiled.step(
            state["memory"],
            state["counts"],
            state["exact"],
            indices(tick.rows),
            tick.time_ms,
            tick.local_ms,
            tick.holiday,
            tick.values,
            tick.broken,
            tick.floor,
            tick.budget,
            rules,
            learning,
            numbers,
            judged,
            coarse,
            direction,
        )
        named: dict[str, Array] = {name: numbers[:, at] for at, name in enumerate(_NAMES)}
        return Votes(judged, direction != 0, direction, named, coarse)

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the score, how often it comes, and the views that are most surprised."""
        most = sorted(VIEWS, key=lambda name: -numbers[name])[:2]
        reasons = " and ".join(_SAID[name] for name in most if numbers[name] > 0)
        return (
            f"{numbers['value']:.6g} (long-term mean {numbers['mean']:.6g}) has surprise "
            f"{numbers['score']:.2f}, seen once in {numbers['once_in_days']:.3g} days; told from "
            f"{numbers['threshold']:.2f}" + (f": {reasons}" if reasons else "")
        )
