"""What a page is told of a series is what the models have, and asking changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.contracts import AnomalyDetected, SeriesRef, SeriesSearch, ThresholdTry
from shared.contracts.alerts import Point
from shared.contracts.message import deterministic_id
from shared.samples import from_rows, labels_text

_T0, _STEP = 1_700_000_000_000, 900_000
_DISK = SeriesRef(host="m1", item="df.bytes.used.percent", labels={"mount": "/var"})


def _engine(days: int) -> Engine:
    """A disk whose use follows the time of day."""
    engine = Engine(EngineSettings())
    for n in range(days * 96):
        value = 50 + 10 * np.sin(2 * np.pi * n / 96)
        labels = labels_text(_DISK.labels)
        engine.process(from_rows([("m1", _DISK.item, labels, _T0 + n * _STEP, value)]))
    return engine


def test_the_usual_range_follows_the_time_of_day_and_holds_the_values() -> None:
    curve = _engine(4).curves.of(_DISK)
    assert curve is not None
    assert (len(curve.points), curve.threshold) == (64, 90)
    means = [point.mean for point in curve.band]
    assert len(means) == 97
    assert abs(max(means) - 60) < 1.5
    assert abs(min(means) - 40) < 1.5
    inside = {p.time_ms: (p.lower, p.upper) for p in curve.band}
    shown = [(p.value, *inside[p.time_ms]) for p in curve.points if p.time_ms in inside]
    assert len(shown) == 64
    assert all(lower - 0.01 <= value <= upper + 0.01 for value, lower, upper in shown)


def test_votes_are_those_of_the_newest_value() -> None:
    curve = _engine(4).curves.of(_DISK)
    assert curve is not None
    assert {vote.detector for vote in curve.votes} == {"surprise", "threshold"}
    assert all(vote.judged and not vote.anomalous for vote in curve.votes)


def test_asking_changes_nothing_and_registers_nobody() -> None:
    engine = _engine(1)
    before = engine.snapshot()
    assert engine.curves.of(_DISK.model_copy(update={"host": "m2"})) is None
    assert engine.curves.of(_DISK) is not None
    after = engine.snapshot()
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)


def test_series_are_found_by_parts_of_their_names() -> None:
    engine = _engine(1)
    engine.process(from_rows([(f"web{n}", "cpu.user", "", _T0, 1.0) for n in range(5)]))

    def search(**asked: object) -> tuple[int, bool]:
        told = {"request_id": deterministic_id("x"), "at": "2026-01-01T00:00:00Z"} | asked
        found, more = engine.curves.search(SeriesSearch.model_validate(told))
        return len(found), more

    assert search() == (6, False)
    assert search(host="WEB") == (5, False)
    assert search(host="web", limit=2) == (2, True)
    assert search(search="/VAR") == (1, False)
    assert search(item="memory") == (0, False)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([70.0, 89.9, 90.0, 90.5, 97.0]), min_size=1, max_size=40),
    st.sampled_from([5_000, 20_000, _STEP]),
)
def test_a_tried_threshold_alarms_when_the_engine_itself_did(
    values: list[float], step_ms: int
) -> None:
    engine, alarms, labels = Engine(EngineSettings()), [], labels_text(_DISK.labels)
    for n, value in enumerate(values):
        batch = from_rows([("m1", _DISK.item, labels, _T0 + n * step_ms, value)])
        for event in engine.process(batch):
            if isinstance(event, AnomalyDetected) and event.threshold is not None:
                alarms += [event.time_ms] * any(v.detector == "threshold" for v in event.votes)
    points = tuple(Point(time_ms=_T0 + n * step_ms, value=v) for n, v in enumerate(values))
    asked = ThresholdTry(
        request_id=deterministic_id("x"),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        series=_DISK,
        threshold=90,
        above=True,
        points=points,
    )
    before = engine.snapshot()
    assert engine.curves.tried(asked) == (tuple(alarms), 10)
    odd = [Point(time_ms=10**30, value=1.0), Point(time_ms=_T0, value=float("nan"))]
    with_odd = asked.model_copy(update={"points": (odd[0], *points, *odd)})
    assert engine.curves.tried(with_odd) == (tuple(alarms), 10)
    lower = asked.model_copy(update={"threshold": 60.0})
    began, _ = engine.curves.tried(lower)
    assert len(began) == (len(values) > 1 and (len(values) - 1) * step_ms >= 10_000)
    unknown = asked.model_copy(update={"series": _DISK.model_copy(update={"host": "m2"})})
    assert engine.curves.tried(unknown) == ((), 0)
    for name, array in before.items():
        np.testing.assert_array_equal(array, engine.snapshot()[name], err_msg=name)
