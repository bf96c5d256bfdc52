"""Adapters that give a detector a series point by point; those of peers are in a file of their own.

A scorer takes series and a false-alarm budget and gives for each its scores (0 where it does not
judge) and where it would open an episode. Ours run as in the service: side by side and with gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.nab import strength
from services.detector.alignment import Alignment
from services.detector.detectors import make
from services.detector.detectors.base import tick_of
from services.detector.notices import Lasting, Notices
from shared.columns import Columns

Floats = NDArray[np.float64]
_TOLERATED_GAP, _CLEAR = 3, 5
WARM = 20


@dataclass(frozen=True)
class Series:
    """Times (milliseconds since 1970) and values; NaN: no value."""

    time_ms: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True)
class Scored:
    """The scores of one series, and the places where an episode opens."""

    scores: Floats
    opened: NDArray[np.intp]


Scorer = Callable[[Sequence[Series], float], list[Scored]]


def of_detector(name: str, *, budgeted: bool = False) -> Scorer:
    """A registered detector; its state and episodes as the engine keeps them."""

    def scorer(series: Sequence[Series], budget: float) -> list[Scored]:
        detector = make(name, {"alarms_per_week": budget} if budgeted else {})
        state, alignment = Columns(detector.columns()), Alignment(None, _TOLERATED_GAP)
        notices = Notices(Lasting(1), Lasting(_CLEAR))
        for columns in (state, alignment.state, notices.state):
            columns.grow(len(series))
        scores = [np.zeros(len(one.values)) for one in series]
        opened: list[list[int]] = [[] for _ in series]
        for at in range(max(len(one.values) for one in series)):
            rows = np.array([row for row, one in enumerate(series) if at < len(one.values)])
            values = np.array([series[row].values[at] for row in rows])
            times = np.array([series[row].time_ms[at] for row in rows])
            known = ~np.isnan(values)
            broken, missing = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows), np.int32)
            missing[known], broken[known] = alignment.advance(rows[known], times[known])
            votes = detector.step(
                state, tick_of(values, times, rows=rows, broken=broken, missing=missing)
            )
            numbers = votes.numbers
            score = numbers["score"] if "score" in numbers else strength(numbers, votes.anomalous)
            score = np.nan_to_num(np.where(votes.judged, score, 0.0), posinf=1e9, neginf=0.0)
            for place, row in enumerate(rows):
                scores[row][at] = score[place]
            for place in notices.step(rows, times, votes.judged, votes.anomalous).opened:
                opened[rows[place]].append(at)
        return [
            Scored(score, np.array(places, dtype=np.intp))
            for score, places in zip(scores, opened, strict=True)
        ]

    return scorer


def of_points(make_model: Callable[[], Callable[[float], float]]) -> Scorer:
    """A model that scores a value, then learns it; its threshold is three sigma of past scores."""

    def one(series: Series) -> Scored:
        model, scores = make_model(), np.zeros(len(series.values))
        fires = np.zeros(len(scores), dtype=np.bool_)
        n, mean, square = 0, 0.0, 0.0
        for at, value in enumerate(series.values):
            if np.isnan(value):
                continue
            score = scores[at] = model(float(value))
            fires[at] = n >= WARM and score - mean > 3 * np.sqrt(square / n)
            n += 1
            moved = score - mean
            mean += moved / n
            square += moved * (score - mean)
        return Scored(scores, opened_at(fires))

    return lambda series, _budget: [one(single) for single in series]


def opened_at(fires: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Firing points that come after ``_CLEAR`` or more which did not fire."""
    places = np.flatnonzero(fires)
    return places[np.diff(places, prepend=-_CLEAR - 1) > _CLEAR]


def ewma(series: Sequence[Series], _budget: float) -> list[Scored]:
    """Exponentially weighted mean and variance (weight 1/21), three sigma."""
    found = []
    for one in series:
        scores = np.zeros(len(one.values))
        mean, square, n = 0.0, 0.0, 0
        for at, value in enumerate(one.values):
            if np.isnan(value):
                continue
            n += 1
            weight = max(1 / 21, 1 / n)
            away = value - mean
            scores[at] = abs(away) / np.sqrt(square) if square > 0 and n > 1 else 0.0
            mean += weight * away
            square += weight * ((1 - weight) * away * away - square) if n > 1 else 0.0
        found.append(Scored(scores, opened_at((scores > 3) & (np.arange(len(scores)) >= WARM))))
    return found


def random(series: Sequence[Series], _budget: float) -> list[Scored]:
    """A scorer that knows nothing."""
    rng = np.random.default_rng(1)
    return [Scored(rng.random(len(one.values)), np.zeros(0, dtype=np.intp)) for one in series]


OURS: dict[str, Scorer] = {
    "random": random,
    "ewma": ewma,
    "median_absolute_deviation": of_detector("median_absolute_deviation"),
    "surprise": of_detector("surprise", budgeted=True),
}
