"""Series that vanish while their alert is open: the episode ends, and says why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.contracts import AnomalyCleared, AnomalyDetected, Message
from shared.contracts.alerts import ClearedReason
from shared.samples import SampleBatch, Sender, decode, encode, from_rows
from shared.snapshots import pack, unpack

_T0 = 1_700_000_000_000
_STALE_BITS = 0x7FF0000000000002
_ITEM = "df.bytes.used.percent"
_Events = list[AnomalyDetected | AnomalyCleared]


def _engine(**more: Any) -> Engine:
    return Engine(EngineSettings.model_validate({"alarm_confirm_s": 0} | more))


def _batch(
    second: int,
    values: dict[str, float],
    host: str = "m1",
    ended: Sequence[str] = (),
    **more: Any,
) -> SampleBatch:
    """Samples and staleness markers of one machine's items at one time, with a heartbeat."""
    return _made(second, tuple(values.items()), host, tuple(ended), tuple(more.items()))


@cache  # most tests let hours pass in which the same comes; nobody changes a batch
def _made(
    second: int,
    values: tuple[tuple[str, float], ...],
    host: str,
    ended: tuple[str, ...],
    more: tuple[tuple[str, Any], ...],
) -> SampleBatch:
    at = _T0 + second * 1000
    rows = [(host, item, "", at, value) for item, value in values]
    batch = from_rows([*rows, *((host, item, "", at, 0.0) for item in ended)], clock_ms=at)
    batch.value.view("int64")[len(rows) :] = _STALE_BITS
    return decode(encode(replace(batch, **dict(more))), trusted=True)


def _alarm(second: int = 0, **others: float) -> SampleBatch:
    return _batch(second, {_ITEM: 95.2, **others})


def _goes_on(start: int, end: int, host: str = "m1") -> Iterable[SampleBatch]:
    """The machine goes on without the series."""
    return (_batch(second, {"load": 1.0}, host) for second in range(start, end, 15))


def _beats(start: int, end: int, **more: Any) -> Iterable[SampleBatch]:
    """Nothing comes but the gateway's heartbeats."""
    return (_batch(second, {}, **more) for second in range(start, end, 15))


def _feed(engine: Engine, batches: Iterable[SampleBatch], item: str = _ITEM) -> _Events:
    return _of(item, [event for batch in batches for event in engine.process(batch)])


def _of(item: str, events: Iterable[Message]) -> _Events:
    alerts = (e for e in events if isinstance(e, AnomalyDetected | AnomalyCleared))
    return [event for event in alerts if event.series.item == item]


def _opened(engine: Engine, **others: float) -> AnomalyDetected:
    usual = [_batch(second, {_ITEM: 20.0, **others}) for second in range(-60, 0, 15)]
    (event,) = _feed(engine, [*usual, _alarm(0, **others)])
    assert isinstance(event, AnomalyDetected)
    return event


def _second(event: AnomalyDetected | AnomalyCleared) -> int:
    return (event.time_ms - _T0) // 1000


def test_the_alarm_of_a_series_that_vanished_ends_and_says_so() -> None:
    engine = _engine()
    opened = _opened(engine)
    assert _feed(engine, _goes_on(15, 3600)) == []
    (ended,) = _feed(engine, _goes_on(3600, 8000))
    assert isinstance(ended, AnomalyCleared)
    assert (ended.event_id, ended.reason) == (opened.event_id, ClearedReason.SERIES_ENDED)
    assert (ended.value, ended.last_sample_ms) == (95.2, _T0)
    assert 3600 < _second(ended) <= 3600 + 30


def test_a_later_sample_opens_a_new_episode_by_its_own_verdict() -> None:
    engine = _engine()
    opened = _opened(engine)
    _feed(engine, _goes_on(15, 4000))
    assert _feed(engine, [_batch(4000, {_ITEM: 20.0})]) == []
    (again,) = _feed(engine, [_alarm(4015)])
    assert isinstance(again, AnomalyDetected)
    assert again.event_id != opened.event_id
    (ended,) = _feed(engine, _goes_on(4030, 8000))
    assert ended.event_id == again.event_id


def test_a_series_that_comes_back_before_goes_on_with_its_episode() -> None:
    engine = _engine()
    _opened(engine)
    assert _feed(engine, [*_goes_on(15, 3500), _alarm(3500), *_goes_on(3515, 7000)]) == []
    assert len(_feed(engine, _goes_on(7000, 7200))) == 1


def test_samples_without_a_value_keep_it_open_and_its_last_value_known() -> None:
    engine = _engine()
    _opened(engine)
    none = (_batch(second, {_ITEM: float("nan"), "load": 1.0}) for second in range(15, 7200, 15))
    assert _feed(engine, none) == []
    (ended,) = _feed(engine, _goes_on(7200, 12_000))
    assert isinstance(ended, AnomalyCleared)
    assert (ended.value, ended.last_sample_ms) == (95.2, _T0 + 7185 * 1000)


@pytest.mark.slow
def test_a_series_that_sends_rarely_is_waited_for_ten_of_its_steps() -> None:
    engine = _engine()
    assert len(_feed(engine, [_alarm()])) == 1
    hourly = [
        batch
        for hour in range(1, 4)
        for batch in (*_goes_on(3600 * hour - 3585, 3600 * hour), _alarm(3600 * hour))
    ]
    assert _feed(engine, hourly) == []
    (ended,) = _feed(engine, _goes_on(3 * 3600 + 15, 15 * 3600))
    assert 13 * 3600 < _second(ended) <= 13 * 3600 + 30


def test_the_alarm_of_a_silent_machine_stays_until_it_is_heard_again() -> None:
    engine = _engine()
    _opened(engine)
    silent = [event for batch in _beats(15, 20_000) for event in engine.process(batch)]
    assert [event.item for event in (e.series for e in _of("host.alive", silent))] == ["host.alive"]
    assert _of(_ITEM, silent) == []
    # Back without the series: it has its time again.
    assert _feed(engine, _goes_on(20_000, 23_200)) == []
    (ended,) = _feed(engine, _goes_on(23_200, 24_000))
    assert isinstance(ended, AnomalyCleared)
    assert ended.reason is ClearedReason.SERIES_ENDED


def test_a_silence_that_is_not_yet_reported_ends_nothing() -> None:
    engine = _engine(series_ended_after_s=60)
    _opened(engine)
    assert _feed(engine, _beats(15, 3000)) == []


def test_the_alarms_of_machines_whose_sender_stopped_stay_open() -> None:
    engine = _engine()
    brought = (("m1", "agents"), ("m2", "agents"))
    engine.process(_batch(0, {"load": 1.0}, "m2"))
    opening = replace(_alarm(), brought=brought)
    assert len(_feed(engine, [opening])) == 1
    assert _feed(engine, _beats(15, 9000, senders=(Sender("agents", _T0, 2),))) == []


def test_the_alarm_of_a_machine_that_left_ends_once_it_counts_as_gone() -> None:
    engine = _engine()
    _opened(engine, load=1.0)
    left = _batch(15, {}, ended=[_ITEM, "load"])
    (ended,) = _feed(engine, [left, *_beats(30, 900)])
    assert isinstance(ended, AnomalyCleared)
    assert ended.reason is ClearedReason.SERIES_ENDED
    assert 315 < _second(ended) <= 315 + 45


def test_a_halt_of_the_pipeline_is_not_counted_against_the_series() -> None:
    engine = _engine()
    _opened(engine)
    _feed(engine, _goes_on(15, 600))
    assert _feed(engine, _goes_on(9000, 11_900)) == []
    assert len(_feed(engine, _goes_on(11_900, 12_300))) == 1


def test_samples_that_come_late_keep_the_episode_open() -> None:
    engine = _engine()
    _opened(engine)
    late = (
        replace(_batch(second - 7000, {_ITEM: 95.2}), clock_ms=_T0 + second * 1000)
        for second in range(7015, 12_000, 15)
    )
    _feed(engine, _beats(15, 7015))
    assert _feed(engine, late) == []


@cache
def _vanished() -> tuple[list[SampleBatch], _Events]:
    """A series that vanishes, with a pause of the pipeline, and what one engine says of it."""
    batches = [_alarm(), *_goes_on(15, 1500), *_goes_on(2700, 6000)]
    return batches, _feed(_engine(), batches)


@pytest.mark.parametrize("cut", [1, 3, 100, 239, 241])
def test_a_replay_from_any_snapshot_ends_it_at_the_same_place(cut: int) -> None:
    batches, events = _vanished()
    assert [type(event) for event in events] == [AnomalyDetected, AnomalyCleared]
    first, second = _engine(), _engine()
    before = _feed(first, batches[:cut])
    _, arrays = unpack(pack(1, first.snapshot()))
    second.restore(arrays)
    assert before + _feed(second, batches[cut:]) == events


def test_an_open_episode_of_an_older_snapshot_is_waited_for_from_then_on() -> None:
    first, second = _engine(), _engine()
    _opened(first)
    older = {
        name: array
        for name, array in first.snapshot().items()
        if "ended_series" not in name and name != "liveness/halted"
    }
    second.restore(older)
    (ended,) = _feed(second, _goes_on(15, 4000))
    assert isinstance(ended, AnomalyCleared)
    assert ended.value == pytest.approx(95.2)
    assert ended.last_sample_ms == _T0
