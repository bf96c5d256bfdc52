"""Series as operations teams send them: what no fault is in must not be noisy, whatever it is.

Each kind of ``bench.operators`` is made to order, at several steps. A kind whose budget is known
not to hold has its own bound in the table, so that it cannot get worse unseen.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench.operators import KINDS
from services.detector.detectors import make
from shared.contracts.alerts import AnomalyKind
from tests.hostile.judged_series import judged

_MINUTE_MS = 60_000
_HOUR_MS, _DAY_MS = 60 * _MINUTE_MS, 24 * 60 * _MINUTE_MS
_SERIES = 4
_NOISY_AT_HOURS = {
    "saw-tooth": 1.5,
    "leak with restarts": 1.4,
    "counter with resets": 1.6,
    "heavy tails": 1.9,
    "tail of Pareto": 1.9,
}
"""Alarms a series and week, where they are known to be more than elsewhere."""
_SPANS = {_MINUTE_MS: 9, 5 * _MINUTE_MS: 30, _HOUR_MS: 84, _DAY_MS: 380}
"""Days looked at, at each step."""


def _rows(step_ms: int) -> np.ndarray:
    days = np.arange(round(_SPANS[step_ms] * _DAY_MS / step_ms)) * (step_ms / _DAY_MS)
    return np.array(
        [
            KINDS[kind](np.random.default_rng([71, at, number]), days)
            for at, kind in enumerate(KINDS)
            for number in range(_SERIES)
        ]
    )


@pytest.mark.parametrize("step_ms", list(_SPANS))
def test_no_kind_of_series_without_a_fault_is_noisy_or_alarmed_for_long(step_ms: int) -> None:
    rows = _rows(step_ms)
    opened, anomalous, _ = judged(rows, step_ms, np.arange(rows.shape[1]))
    weeks = _SPANS[step_ms] / 7
    for at, kind in enumerate(KINDS):
        own = slice(at * _SERIES, (at + 1) * _SERIES)
        rate = sum(len(places) for places in opened[own]) / _SERIES / weeks
        most = _NOISY_AT_HOURS.get(kind, 1.1) if step_ms == _HOUR_MS else 1.1
        # Of a few days, an alarm or two a series are as many as a month's budget allows.
        assert rate <= most + 1.2 / weeks, (kind, rate, opened[own])
        share = float(anomalous[own].mean())
        # At daily steps an alarm needs weeks to end.
        assert share <= (0.1 if step_ms < _DAY_MS else 0.55), (kind, share)
    at = list(KINDS).index("constant") * _SERIES
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
