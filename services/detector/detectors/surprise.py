"""Surprise: how rarely has this series done anything like this, by six views of it?

Each view measures how far the point is from one kind of memory (never the point's own): the
nearest value ever seen, the nearest short mean, the level, this time of day, this time of the
week, the point before. What a distance means depends on the series, so each becomes a *rarity*:
minus the logarithm of the share of the series' past points with at least that distance (a
conformal p-value); beyond the largest ever, a Pareto tail fitted to the 20 largest (Hill) goes on.
The weighted mean of the rarities is the score, in nats, lifted by a share of the series' own
habit: one that surprises often must surprise more.

A score is told only where nothing in the last ``rest`` points was nearly as high, so that an
episode is told at its onset, once. The threshold comes from the false-alarm budget
``alarms_per_week`` and the series' own step: see ``threshold``; a young series must surprise more.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.detector.detectors.base import Bools, Detector, Floats, Tick, Votes, detector
from shared.columns import Column, Columns, indices

VIEWS = (
    "new_value", "new_mean", "level", "time_of_day", "time_of_week", "step",
)  # fmt: skip
_SAID = {
    "new_value": "the value is far from any seen before",
    "new_mean": "the mean of the last 4 points is far from any before",
    "level": "the level of the last 64 points has moved",
    "time_of_day": "it is unusual at this time of day",
    "time_of_week": "it is unusual at this time of the week",
    "step": "the step from the previous point is large",
}
_WEIGHTS = np.array([0.2981, 0.1096, 0.2816, 0.2912, 0.0116, 0.0080])
_WEEK_MS = 604_800_000
_A, _B = 3.87, 1.13
_MEMORY, _COUNTS, _EXACT, _LEARNED, _FIRING = 730, 8, 6, 2, 5
_MEAN, _STEP_MS = 0, 4


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
        123, ge=0, le=100_000, description="Points in which only a still higher score is told."
    )
    margin: float = Field(0.46, ge=0, description="How much higher, in nats.")
    lift: float = Field(0.468, ge=0, lt=1, description="Share of the series' own habit held back.")
    floor_absolute: float = Field(0.0, ge=0, description="Least distance, in the item's unit.")
    floor_relative: float = Field(0.0, ge=0, description="Least distance, share of abs(mean).")
    direction: Literal["both", "spike", "drop"] = Field(
        "both", description="Which departures from the mean are told."
    )

    def columns(self) -> list[Column]:
        """What the kernel keeps: 3.3 kB a series."""
        return [
            Column("memory", np.float32, np.nan, (_MEMORY,)),
            Column("counts", np.int32, 0, (_COUNTS,)),
            Column("exact", np.float64, 0, (_EXACT,)),
        ]

    def threshold(self, step_ms: Floats, budget: Floats | None = None) -> Floats:
        """The score (n,) that a series with ``step_ms`` between points passes on the budget.

        ``budget``: alarms a week of each (NaN: those of the settings).

        Measured on NAB's series outside the labelled windows: one in ``exp(a + b*score)`` points.
        """
        weekly = np.array(np.nan) if budget is None else budget
        weekly = np.where(np.isnan(weekly), self.alarms_per_week, weekly)
        points = _WEEK_MS / np.maximum(step_ms, 1.0) / weekly
        return np.maximum((np.log(points) - _A) / _B, 1.0)

    def _run(self, state: Columns, tick: Tick, *, learning: bool) -> tuple[Floats, Floats, Floats]:
        from services.detector.detectors import surprise_kernel  # noqa: PLC0415 - compiles

        n = len(tick)
        views, score, report = np.empty((n, len(VIEWS))), np.empty(n), np.empty(n)
        surprise_kernel.step(
            state["memory"], state["counts"], state["exact"], indices(tick.rows),
            tick.time_ms, tick.local_ms, tick.holiday, tick.values, tick.broken,
            np.maximum(tick.floor, self.floor_absolute), self.floor_relative, _WEIGHTS, learning,
            self.lift, self.rest, self.margin, views, score, report,
        )  # fmt: skip
        return views, score, report

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Score by the memories as they are."""
        before = self._before(state, tick)
        return self._vote(tick, before, self._run(state, tick, learning=False))

    def learn(self, state: Columns, tick: Tick) -> None:
        """Make the points part of the memories."""
        self.step(state, tick)

    def step(self, state: Columns, tick: Tick) -> Votes:
        """Judge and learn in one pass."""
        known = ~np.isnan(tick.values)
        if not known.all():
            return self.step(state, tick.select(known)).spread(known)
        before = self._before(state, tick)
        votes = self._vote(tick, before, self._run(state, tick, learning=True))
        state["counts"][tick.rows, _FIRING] = votes.anomalous
        return votes

    @staticmethod
    def _before(state: Columns, tick: Tick) -> tuple[NDArray[np.int32], Floats]:
        return state["counts"][tick.rows].copy(), state["exact"][tick.rows].copy()

    def _vote(
        self,
        tick: Tick,
        before: tuple[NDArray[np.int32], Floats],
        found: tuple[Floats, Floats, Floats],
    ) -> Votes:
        counts, exact = before
        views, score, report = found
        mean, step_ms = exact[:, _MEAN].copy(), exact[:, _STEP_MS].copy()
        learned = counts[:, _LEARNED]
        coarse: Bools = learned < self.settled_points
        # What is the rarest of a few points is not rare: young series would tell too much.
        folds = np.log(self.settled_points / np.maximum(learned, 1))
        threshold = self.threshold(step_ms, tick.budget) + self.youth * np.maximum(folds, 0)
        judged: Bools = (learned >= self.min_points) & ~tick.broken
        # Onset is told once; the episode goes on while the score stays near.
        going_on = (counts[:, _FIRING] > 0) & (score >= threshold / 2)
        sign = np.sign(tick.values - mean)
        wanted = {"both": np.isfinite(sign), "spike": sign > 0, "drop": sign < 0}[self.direction]
        fires = judged & wanted & ((report >= threshold) | going_on)
        numbers: dict[str, Any] = {
            "value": tick.values, "mean": mean, "score": score, "threshold": threshold,
            "once_in_days": np.exp(_A + _B * score) * step_ms / 86_400_000, "report": report,
        }  # fmt: skip
        numbers |= {name: views[:, at] for at, name in enumerate(VIEWS)}
        direction = np.where(fires, sign, 0).astype(np.int8)
        return Votes(judged, fires, direction, numbers, coarse & judged)

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the score, how often it comes, and the views that are most surprised."""
        shares = {name: _WEIGHTS[at] * numbers[name] for at, name in enumerate(VIEWS)}
        most = sorted(shares, key=lambda name: -shares[name])[:2]
        reasons = " and ".join(_SAID[name] for name in most if shares[name] > 0)
        return (
            f"{numbers['value']:.6g} (long-term mean {numbers['mean']:.6g}) has surprise "
            f"{numbers['score']:.2f}, seen once in {numbers['once_in_days']:.3g} days; told from "
            f"{numbers['threshold']:.2f}" + (f": {reasons}" if reasons else "")
        )
