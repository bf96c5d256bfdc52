"""Series as operations teams send them: what no fault is in must not be noisy, whatever it is.

Each kind is made to order, at several steps. A kind whose budget is known not to hold has its own
bound in the table, so that it cannot get worse unseen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from services.detector.detectors import make
from shared.contracts.alerts import AnomalyKind
from tests.hostile.judged_series import judged

_MINUTE_MS = 60_000
_HOUR_MS, _DAY_MS = 60 * _MINUTE_MS, 24 * 60 * _MINUTE_MS
_SERIES = 4
Random = np.random.Generator
Floats = np.ndarray
Maker = Callable[[Random, Floats], Floats]
"""Values at the given days since a Monday's midnight."""


def _hour(days: Floats) -> Floats:
    return days % 1 * 24


def _office(days: Floats) -> Floats:
    return ((days % 7 < 5) & (_hour(days) >= 9) & (_hour(days) < 17)).astype(np.float64)


def _bursts(rng: Random, n: int, share: float, length: int) -> Floats:
    found = np.zeros(n)
    for begin in np.flatnonzero(rng.random(n) < share / length):
        found[begin : begin + 1 + rng.poisson(length - 1)] = 1
    return found


def _now_and_then(rng: Random, n: int, share: float, values: Floats) -> Floats:
    """One of ``values``, another one after ``share`` of the points."""
    return values[np.cumsum(rng.random(n) < share) % len(values)]


def _saw_tooth(rng: Random, n: int) -> Floats:
    found, level = np.empty(n), 20.0
    for at in range(n):
        level += 1 + 0.5 * rng.normal()
        if level > 60 + 8 * rng.random():
            level = 20 + 3 * rng.random()
        found[at] = level
    return found


def _queue(rng: Random, n: int, served: float) -> Floats:
    found, waiting = np.empty(n), 0
    for at, (come, gone) in enumerate(zip(rng.poisson(2, n), rng.poisson(served, n), strict=True)):
        waiting = max(0, waiting + come - gone)
        found[at] = waiting
    return found


def _sensor(rng: Random, n: int) -> Floats:
    found = 0.05 * rng.normal(size=n)
    for at in range(1, n):
        found[at] += 0.99 * found[at - 1]
    return 40 + found


_KINDS: dict[str, Maker] = {
    "constant": lambda _, t: np.full(len(t), 3.0),
    "alternating": lambda _, t: np.arange(len(t)) % 2 * 1.0,
    "days left of a certificate": lambda _, t: np.floor(90 - t % 60),
    "charge of a battery": lambda _, t: np.round(100 - np.abs(t * 168 % 160 - 80) * 0.75),
    "integers": lambda rng, t: np.rint(50 + 0.3 * rng.normal(size=len(t))),
    "rare counts": lambda rng, t: rng.poisson(0.02, len(t)).astype(np.float64),
    "very rare counts": lambda rng, t: rng.poisson(0.002, len(t)).astype(np.float64),
    "counts": lambda rng, t: rng.poisson(2, len(t)).astype(np.float64),
    "counts of office hours": lambda rng, t: rng.poisson(0.1 + 20 * _office(t)) * 1.0,
    "scattered counts": lambda rng, t: rng.negative_binomial(0.5, 0.05, len(t)) * 1.0,
    "rate of rare events": lambda rng, t: rng.poisson(0.3, len(t)) / 60.0,
    "two exact levels": lambda rng, t: _now_and_then(rng, len(t), 1 / 60, np.array([4.0, 8.0])),
    "two levels, rarely": lambda rng, t: _now_and_then(rng, len(t), 1 / 500, np.array([4.0, 8.0])),
    "a limit that is set": lambda rng, t: _now_and_then(
        rng, len(t), 1 / 1500, 2.0 ** np.arange(8, 14)
    ),
    "replicas": lambda rng, t: (
        3 + np.clip(np.cumsum((rng.random(len(t)) < 0.007) * rng.choice([-1, 1], len(t))), -2, 6)
    ),
    "up": lambda rng, t: 1 - _bursts(rng, len(t), 0.005, 5),
    "packets lost": lambda rng, t: np.where(
        rng.random(len(t)) < 0.02, np.round(100 * rng.beta(1, 20, len(t)), 1), 0.0
    ),
    "bursts of errors": lambda rng, t: (
        _bursts(rng, len(t), 0.01, 4) * np.ceil(rng.lognormal(1, 1, len(t)))
    ),
    "latency": lambda rng, t: rng.lognormal(3, 0.5, len(t)),
    "at its limit": lambda rng, t: np.minimum(100.0, 97 + 3 * rng.normal(size=len(t))),
    "idle share": lambda rng, t: np.round(100 - np.abs(rng.normal(0, 0.5, len(t))), 1),
    "two modes": lambda rng, t: (
        np.where(rng.random(len(t)) < 0.3, 80, 20) + rng.normal(size=len(t))
    ),
    "a job of each night": lambda rng, t: (
        5 + rng.normal(size=len(t)) + 60 * ((_hour(t) >= 2) & (_hour(t) < 3))
    ),
    "traffic of working days": lambda rng, t: (
        5 + 100 * _office(t) * (1 + 0.1 * rng.normal(size=len(t))) + rng.normal(size=len(t))
    ),
    "levels of weekdays": lambda rng, t: (
        np.where(t % 7 < 5, 1000, 300) * (1 + 0.05 * rng.normal(size=len(t)))
    ),
    "random walk": lambda rng, t: 100 + rng.normal(size=len(t)).cumsum(),
    "steps of a disk": lambda rng, t: (
        40 + ((rng.random(len(t)) < 0.01) * rng.lognormal(-1, 1, len(t))).cumsum()
    ),
    "log rotation": lambda rng, t: 40 + 5 * (t % 1) + 0.02 * rng.normal(size=len(t)),
    "queue": lambda rng, t: _queue(rng, len(t), 2.2),
    "queue, mostly empty": lambda rng, t: _queue(rng, len(t), 4),
    "temperature by tenths": lambda rng, t: np.round(_sensor(rng, len(t)), 1),
    "temperature by halves": lambda rng, t: np.round(2 * _sensor(rng, len(t))) / 2,
    "one of three was sent": lambda rng, t: np.where(
        rng.random(len(t)) < 0.7, np.nan, 50 + rng.normal(size=len(t))
    ),
    "share of few": lambda rng, t: rng.binomial(3, 0.05, len(t)) / 3,
    "successes": lambda rng, t: np.round(100 - 100 * rng.binomial(30, 0.01, len(t)) / 30, 2),
    "saw-tooth": lambda rng, t: _saw_tooth(rng, len(t)),
}
_NOISY_AT_HOURS = {"saw-tooth": 3.0}
"""Alarms a series and week, where they are known to be more than elsewhere."""
_SPANS = {_MINUTE_MS: 9, 5 * _MINUTE_MS: 30, _HOUR_MS: 84, _DAY_MS: 380}
"""Days looked at, at each step."""


def _rows(step_ms: int) -> Floats:
    days = np.arange(round(_SPANS[step_ms] * _DAY_MS / step_ms)) * (step_ms / _DAY_MS)
    return np.array(
        [
            _KINDS[kind](np.random.default_rng([71, at, number]), days)
            for at, kind in enumerate(_KINDS)
            for number in range(_SERIES)
        ]
    )


@pytest.mark.parametrize("step_ms", list(_SPANS))
def test_no_kind_of_series_without_a_fault_is_noisy_or_alarmed_for_long(step_ms: int) -> None:
    rows = _rows(step_ms)
    opened, anomalous, _ = judged(rows, step_ms, np.arange(rows.shape[1]))
    weeks = _SPANS[step_ms] / 7
    for at, kind in enumerate(_KINDS):
        own = slice(at * _SERIES, (at + 1) * _SERIES)
        rate = sum(len(places) for places in opened[own]) / _SERIES / weeks
        most = _NOISY_AT_HOURS.get(kind, 1.1) if step_ms == _HOUR_MS else 1.1
        # Of a few days, an alarm or two a series are as many as a month's budget allows.
        assert rate <= most + 1.2 / weeks, (kind, rate, opened[own])
        share = float(anomalous[own].mean())
        # At daily steps an alarm needs weeks to end.
        assert share <= (0.1 if step_ms < _DAY_MS else 0.55), (kind, share)
    at = list(_KINDS).index("constant") * _SERIES
    assert opened[at : at + _SERIES] == [[]] * _SERIES, "nothing ever changed"


def test_whatever_is_sent_each_verdict_is_a_number_and_has_a_name() -> None:
    rows = _rows(_HOUR_MS)
    _, _, votes = judged(rows, _HOUR_MS, np.arange(rows.shape[1]))
    detector, names = make("surprise"), set()
    for vote in votes:
        for name, numbers in vote.numbers.items():
            assert np.isfinite(numbers).all(), name
        for place in np.flatnonzero(vote.anomalous):
            numbers = {name: float(values[place]) for name, values in vote.numbers.items()}
            names.add(detector.kind(numbers, int(vote.direction[place])))
            assert "nan" not in detector.explain(numbers)
    assert names <= set(AnomalyKind)
    assert {AnomalyKind.SPIKE, AnomalyKind.DIP, AnomalyKind.LESS_NOISE} <= names


def test_the_usual_size_of_rare_events_does_not_shrink_while_nothing_happens() -> None:
    rng = np.random.default_rng(72)
    events = (rng.random((4, 8640)) < 0.004) * rng.uniform(0.8, 1.2, (4, 8640))
    # In the last days one event comes that is ten times as large as any.
    events[:, 8000] = 10.0
    opened, _, votes = judged(events, 5 * _MINUTE_MS, np.arange(8640))
    scores = np.array([vote.numbers["score"] for vote in votes])
    usual = scores[2000:8000][events[:, 2000:8000].T > 0]
    assert usual.max() < 10, "an event as all others is a few usual sizes, not thousands"
    assert all(8000 in places for places in opened), opened


def test_edges_of_weekends_are_told_once_at_hourly_steps() -> None:
    hours = np.arange(8 * 168)
    weekend = hours % 168 >= 120
    rng = np.random.default_rng(73)
    rows = np.where(weekend, 300, 1000) * (1 + 0.05 * rng.normal(size=(6, len(hours))))
    # A fault in the middle of the last week has nothing to do with them.
    rows[:, 7 * 168 + 60 : 7 * 168 + 66] = 300
    opened, _, _ = judged(rows, _HOUR_MS, hours)
    edges = [120 + 168 * week + later for week in range(2, 8) for later in (0, 1, 48, 49)]
    told = [point for places in opened for point in places if point in edges]
    assert len(told) <= 12, "six series, twelve edges each"
    assert sum(7 * 168 + 60 in places for places in opened) >= 5, opened
