"""Surprise: how far is this point from what the series does, and how rarely was it so before?

What is expected comes from nine predictors, of which the best recently speaks. What a point leaves
over is measured in the series' own deviations in nine ways: one point, three, an hour and more of
them; more or less noise; standing still; and the ``score``, the mean over three points of the
distance from the expected and from the level. Each has a *rarity*, minus the logarithm of the share
of the series' past blocks that came as far. Single points and what lasts are judged apart: of each
group the largest rarity decides.

A group's threshold comes from the series' own past rarities: what they reached four times as often
as its half of the false-alarm budget ``alarms_per_week`` allows, plus what a quarter of that is
worth. It is taken once a day, so that a slow fault cannot raise it ahead of itself; every alarm
lifts it a little and quiet weeks lower it, so that the budget holds on any kind of series.
After an alarm nothing new is begun for ``rest_hours``, unless it is far rarer than that alarm.

Three more views (the nearest value ever seen, the level, this time of day) say why; their mean
rarity is the ``report``, which is comparable across series.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.detector.detectors.base import Detector, Floats, Tick, Votes, detector
from shared.columns import Array, Column, Columns, indices
from shared.contracts.alerts import AnomalyKind

VIEWS = ("new_value", "level", "time_of_day")
_SAID = {
    "new_value": "the value is far from any seen before",
    "level": "the level of the last 64 points has moved",
    "time_of_day": "it is unusual at this time of day",
}
_VIEWED = ("mean", "report", *VIEWS)
_JUDGED = ("expected", "score", "rarity", "threshold", "kind", "budget", "onset")
"""The numbers that the two kernels write of every point, in their order."""
_SHAPES = {
    0: (AnomalyKind.SPIKE, AnomalyKind.DIP),
    1: (AnomalyKind.SPIKE, AnomalyKind.DIP),
    2: (AnomalyKind.LEVEL_UP, AnomalyKind.LEVEL_DOWN),
    3: (AnomalyKind.LEVEL_UP, AnomalyKind.LEVEL_DOWN),
    4: (AnomalyKind.TREND, AnomalyKind.TREND),
    5: (AnomalyKind.MORE_NOISE, AnomalyKind.MORE_NOISE),
    6: (AnomalyKind.LESS_NOISE, AnomalyKind.LESS_NOISE),
    7: (AnomalyKind.STUCK, AnomalyKind.STUCK),
    8: (AnomalyKind.SPIKE, AnomalyKind.DIP),
    9: (AnomalyKind.PATTERN_MISSING, AnomalyKind.PATTERN_MISSING),
}
"""The shape that a channel's rarity shows, upwards and downwards."""
_MEMORY, _COUNTS, _EXACT = 394, 5, 6
_WEEK, _COURSE, _PACE, _TALLY, _TOPS, _RETURNS = 84, 12, 30, 12, 141, 4
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_BEGAN_MS = 5


@detector
class Surprise(Detector):
    """For any series: the default. Scores mean the same on all of them."""

    NAME: ClassVar[str] = "surprise"

    alarms_per_week: float = Field(
        0.5, gt=0, le=1000, description="False-alarm budget: alarms a series and week."
    )
    min_points: int = Field(20, ge=10, description="Points learned before anything is judged.")
    settled_days: float = Field(
        7, ge=0, description="Days learned before its own history is trusted: coarse until then."
    )
    rest_hours: float = Field(
        10,
        ge=0,
        le=10_000,
        description="Hours after an alarm in which only a far rarer one is begun.",
    )
    margin: float = Field(
        0.5, ge=0, description="The nats by which a point must be rarer for the rest to begin anew."
    )
    lift: float = Field(0.5, ge=0, lt=1, description="Share of the series' own habit held back.")
    floor_absolute: float = Field(0.0, ge=0, description="Least distance, in the item's unit.")
    floor_relative: float = Field(0.0, ge=0, description="Least distance, share of abs(mean).")
    direction: Literal["both", "spike", "drop"] = Field(
        "both", description="The departures from the mean that are reported."
    )

    def columns(self) -> list[Column]:
        """The columns that the kernels keep: 2.5 kB a series."""
        return [
            Column("memory", np.float32, np.nan, (_MEMORY,)),
            Column("counts", np.int32, 0, (_COUNTS,)),
            Column("exact", np.float64, 0, (_EXACT,)),
            Column("week", np.float32, 0, (_WEEK,)),
            Column("course", np.float64, 0, (_COURSE,)),
            Column("pace", np.float32, 0, (_PACE,)),
            Column("tally", np.int32, 0, (_TALLY,)),
            Column("tops", np.int16, 0, (_TOPS,)),
            Column("returns", np.float32, 0, (_RETURNS,), added=True),
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
        n, rows = len(tick), indices(tick.rows)
        judging, viewing = np.empty((n, len(_JUDGED))), np.empty((n, len(_VIEWED)))
        judged, anomalous = np.empty(n, dtype=np.bool_), np.empty(n, dtype=np.bool_)
        direction = np.empty(n, dtype=np.int8)
        began = state["exact"][rows, _BEGAN_MS]
        # First, since it looks at the slots of the day as they were before this point.
        self._decide(state, tick, rows, learning, judging, judged, anomalous, direction)
        self._view(state, tick, rows, learning, viewing)
        named: dict[str, Array] = {"value": tick.values}
        named |= {name: judging[:, at] for at, name in enumerate(_JUDGED)}
        named |= {name: viewing[:, at] for at, name in enumerate(_VIEWED)}
        coarse = judged & (tick.time_ms - began < self.settled_days * _DAY_MS)
        return Votes(judged, anomalous, direction, named, coarse)

    def _decide(
        self,
        state: Columns,
        tick: Tick,
        rows: Array,
        learning: bool,
        numbers: Array,
        judged: Array,
        anomalous: Array,
        direction: Array,
    ) -> None:
        from services.detector.detectors import departures, surprise_kernel

        rules = departures.Limits(
            self.floor_absolute,
            self.floor_relative,
            self.alarms_per_week,
            self.min_points,
            self.rest_hours * _HOUR_MS,
            self.margin,
            self.direction != "drop",
            self.direction != "spike",
        )
        departures.step(
            departures.State(*(state[name] for name in departures.State._fields)),
            state["memory"],
            surprise_kernel.DAILY,
            surprise_kernel.DAY_SLOTS,
            state["exact"][:, surprise_kernel.STEP_MS],
            state["exact"][:, surprise_kernel.BEGAN_MS],
            departures.Points(
                rows,
                tick.time_ms,
                tick.local_ms,
                tick.holiday,
                tick.values,
                tick.broken,
                tick.floor,
                tick.budget,
            ),
            rules,
            departures.scratch(),
            learning,
            departures.Verdicts(numbers, judged, anomalous, direction),
        )

    def _view(
        self, state: Columns, tick: Tick, rows: Array, learning: bool, numbers: Array
    ) -> None:
        from services.detector.detectors import surprise_kernel

        rules = surprise_kernel.Rules(
            self.lift,
            self.margin,
            self.floor_absolute,
            self.floor_relative,
        )
        surprise_kernel.step(
            state["memory"],
            state["counts"],
            state["exact"],
            rows,
            tick.time_ms,
            tick.local_ms,
            tick.holiday,
            tick.values,
            tick.broken,
            tick.floor,
            rules,
            learning,
            np.empty(surprise_kernel.VIEWS),
            numbers,
        )

    def usual(self, state: Columns, row: int, local_ms: NDArray[np.int64]) -> Floats | None:
        """This time of day's value, as far around as all but the farthest points of the past."""
        from services.detector.detectors import surprise_kernel as kernel

        memory, learned = state["memory"][row], int(state["counts"][row, kernel.LEARNED])
        if learned < self.min_points:
            return None
        slots = kernel.DAILY + (local_ms % _DAY_MS) * kernel.DAY_SLOTS // _DAY_MS
        mean = memory[slots].astype(np.float64)
        first = kernel.TOP + VIEWS.index("time_of_day") * kernel.KEPT
        away = float(memory[first + min(learned, kernel.KEPT) - 1])
        return np.stack([mean, mean - away, mean + away], axis=1)

    def kind(self, numbers: dict[str, float], direction: int) -> AnomalyKind:
        """The shape by the channel that was rarest, and which way it went."""
        up, down = _SHAPES[int(numbers["kind"])]
        return down if direction < 0 else up

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the score, how often it comes, and what is most surprised."""
        rate = numbers["budget"] * math.exp(numbers["threshold"] - numbers["rarity"])
        most = sorted(VIEWS, key=lambda name: -numbers[name])[:2]
        reasons = " and ".join(_SAID[name] for name in most if numbers[name] > 0)
        return (
            f"{numbers['value']:.6g} where {numbers['expected']:.6g} was expected, "
            f"{numbers['score']:.3g} usual deviations over three points; rarity "
            f"{numbers['rarity']:.2f}, seen once in {_days(7 / max(rate, 1e-9))} days; "
            f"reported from {numbers['threshold']:.2f}" + (f"; {reasons}" if reasons else "")
        )


_EXPONENT = 1000


def _days(number: float) -> str:
    """A number of days as people write it, without an exponent."""
    return f"{number:,.0f}" if number >= _EXPONENT else f"{number:.3g}"
