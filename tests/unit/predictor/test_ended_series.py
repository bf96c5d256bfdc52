"""Predictions whose series sends nothing any more: they are withdrawn, and nobody is blamed."""

from __future__ import annotations

import pytest

from services.predictor.engine import Engine
from services.predictor.settings import EngineSettings
from shared.contracts import AlarmPredicted, Message, PredictionWithdrawn
from shared.samples import SampleBatch, from_rows
from shared.stream_clock import BACK_AFTER
from tests.unit.predictor.test_engine import _filling

_DISK = "df.bytes.used.percent"
_SETTINGS = EngineSettings(
    resolution_s=1,
    forecasters={"arima": {"max_p": 1, "max_q": 1}},
    reselect_steps=1000,
    series_ended_after_s=30,
)
_RISES = _filling(45)
_LAST = len(_RISES) - 1


def _rising(at: int) -> SampleBatch:
    return from_rows([("host1", _DISK, "", at * 1000, float(_RISES[at]))])


def _other(at: int, host: str) -> SampleBatch:
    return from_rows([(host, "load.1min", "", at * 1000, 0.5)])


def _predicted() -> tuple[Engine, AlarmPredicted]:
    engine = Engine(_SETTINGS)
    events = [event for at in range(len(_RISES)) for event in engine.process(_rising(at))]
    assert isinstance(events[0], AlarmPredicted)
    assert not [event for event in events if isinstance(event, PredictionWithdrawn)]
    return engine, events[0]


def _quiet(engine: Engine, host: str, seconds: int) -> list[Message]:
    passing = range(_LAST + 1, _LAST + 1 + seconds)
    return [event for at in passing for event in engine.process(_other(at, host))]


@pytest.mark.parametrize("host", ["host1", "elsewhere"])
def test_a_prediction_of_a_series_that_vanished_is_withdrawn_once_and_counts_neither_way(
    host: str,
) -> None:
    engine, predicted = _predicted()
    (withdrawn,) = _quiet(engine, host, 60)
    assert isinstance(withdrawn, PredictionWithdrawn)
    assert withdrawn.event_id == predicted.event_id
    assert (withdrawn.outcome, withdrawn.last_sample_ms) == ("series_ended", _LAST * 1000)
    assert withdrawn.value == _RISES[-1]
    assert 30_000 < withdrawn.time_ms - _LAST * 1000 < 40_000
    score = engine.episodes.ledger.scores[_DISK]
    assert (score.ended, score.hit, score.false, score.accuracy) == (1, 0, 0, None)


def test_what_the_clock_jumps_over_is_a_halt_of_the_pipeline_and_not_of_the_series() -> None:
    engine, _ = _predicted()
    assert _quiet(engine, "host1", 20) == []
    assert engine.process(_other(_LAST + 7200, "host1")) == []


def test_a_series_that_sends_again_in_time_keeps_its_prediction() -> None:
    engine, _ = _predicted()
    assert _quiet(engine, "host1", 25) == []
    engine.process(from_rows([("host1", _DISK, "", (_LAST + 26) * 1000, float(_RISES[-1]))]))
    later = range(_LAST + 27, _LAST + 50)
    events = [event for at in later for event in engine.process(_other(at, "host1"))]
    assert not [e for e in events if getattr(e, "outcome", "") == "series_ended"]


def test_a_restored_engine_withdraws_it_at_the_same_place() -> None:
    engine, _ = _predicted()
    _quiet(engine, "host1", 15)
    restored = Engine(_SETTINGS)
    restored.restore(engine.snapshot())
    rest = [_other(at, "host1") for at in range(_LAST + 16, _LAST + 60)]
    assert [restored.process(each) for each in rest] == [engine.process(each) for each in rest]


def test_a_snapshot_from_before_has_its_predictions_withdrawn_as_well() -> None:
    engine, _ = _predicted()
    for episode in engine.episodes.ledger.episodes.values():
        episode.seen_ms, episode.heard_ms = -1, 0
    assert [event.outcome for event in _quiet(engine, "host1", 60)] == ["series_ended"]


def test_a_gateway_whose_clock_was_a_year_ahead_keeps_no_prediction_open() -> None:
    engine, _ = _predicted()
    year = 365 * 86_400
    beats = [_LAST + year, *range(_LAST + 1, _LAST + 1 + BACK_AFTER)]
    for at in beats:
        assert engine.process(from_rows([], clock_ms=at * 1000)) == []
    (withdrawn,) = _quiet(engine, "host2", 90)
    assert isinstance(withdrawn, PredictionWithdrawn)
    assert withdrawn.time_ms < (_LAST + 100) * 1000
