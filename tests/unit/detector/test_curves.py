"""What a page is told of a series is what the models have, and asking changes nothing."""

from __future__ import annotations

import numpy as np

from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.contracts import SeriesRef, SeriesSearch
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
