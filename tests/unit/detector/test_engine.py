"""The engine: from samples of any order and quality to one event an episode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.combination import Combination
from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from services.detector.worker import DetectorWorker
from shared.columns import Array
from shared.contracts import AnomalyCleared, AnomalyDetected, Message, MetricBatch
from shared.contracts.metrics import Sample
from shared.samples import SampleBatch, encode, from_message, from_rows, labels_text
from shared.snapshots import Stored, pack, unpack
from shared.stream_clock import BACK_AFTER

_T0 = 1_700_000_000_000
_MINUTE = 60_000
QUICK: dict[str, Any] = {
    "combination": {"mode": "branch"},
    "detectors": {
        "short_term": {"window_points": 60, "blocks": 6, "min_points": 20},
        "long_term": {"min_points": 20, "settle": 5},
    },
}


def _engine(**more: Any) -> Engine:
    return Engine(EngineSettings.model_validate(QUICK | more))


def _at(minute: float, value: float, item: str = "queue", host: str = "m1") -> SampleBatch:
    return from_rows([(host, item, "", int(_T0 + minute * _MINUTE), value)])


def _wave(minute: int) -> float:
    return 100 + (minute * 7919 % 13) / 13


def _feed(engine: Engine, batches: Iterable[SampleBatch]) -> list[Message]:
    return [event for batch in batches for event in engine.process(batch)]


def _detected(events: Iterable[Message]) -> list[AnomalyDetected]:
    return [event for event in events if isinstance(event, AnomalyDetected)]


def _cleared(events: Iterable[Message]) -> list[AnomalyCleared]:
    return [event for event in events if isinstance(event, AnomalyCleared)]


def test_one_episode_gives_one_detected_and_one_cleared_event() -> None:
    engine = _engine()
    quiet = _feed(engine, (_at(m, _wave(m)) for m in range(60)))
    assert quiet == []
    events = _feed(engine, (_at(m, 300.0) for m in range(60, 70)))
    events += _feed(engine, (_at(m, _wave(m)) for m in range(70, 120)))
    detected, cleared = _detected(events), _cleared(events)
    assert len(detected) >= 1
    first = detected[0]
    assert first.time_ms == _T0 + 62 * _MINUTE
    assert (first.direction, first.value, first.family) == ("spike", 300.0, "other")
    assert {vote.detector for vote in first.votes} == {
        "chain",
        "amplitude",
        "short_term",
        "long_term",
    }
    assert "long_term: 300 is" in first.sentence
    assert len(first.recent) == 63
    assert [event.event_id for event in cleared] == [event.event_id for event in detected]


def test_a_single_odd_point_opens_nothing_where_three_are_asked_for() -> None:
    engine = _engine()
    values = [_wave(m) for m in range(60)] + [300.0] + [_wave(m) for m in range(61, 90)]
    assert _feed(engine, (_at(m, value) for m, value in enumerate(values))) == []


def test_points_in_one_batch_and_one_by_one_give_the_same_events() -> None:
    rows = [
        ("m1", "queue", "", _T0 + m * _MINUTE, _wave(m) if m < 60 else 300.0) for m in range(99)
    ]
    one_by_one = _feed(_engine(), (from_rows([row]) for row in rows))
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    at_once = _feed(_engine(stale_after_s=1e9), [from_rows(shuffled)])
    assert one_by_one == at_once
    assert _detected(at_once)


def test_late_and_repeated_samples_change_nothing() -> None:
    engine, other = _engine(), _engine()
    for minute in range(60):
        batch = _at(minute, _wave(minute))
        assert engine.process(batch) == other.process(batch) == []
        assert engine.process(batch) == []
        assert engine.process(_at(minute - 5, 1e9)) == []
    assert engine.counts.late == 120
    assert engine.counts.judged == other.counts.judged


def test_after_a_long_gap_the_first_points_cannot_be_judged() -> None:
    engine = _engine()
    _feed(engine, (_at(m, _wave(m)) for m in range(60)))
    before = engine.counts.judged
    assert _feed(engine, (_at(m, 500 + _wave(m)) for m in range(300, 305))) == []
    assert engine.counts.judged == before


def test_a_short_gap_does_not_blind() -> None:
    engine = _engine()
    _feed(engine, (_at(m, _wave(m)) for m in range(60)))
    assert _detected(_feed(engine, (_at(m, 300.0) for m in range(62, 70))))


def test_samples_without_a_value_cannot_be_judged() -> None:
    engine = _engine()
    _feed(engine, (_at(m, _wave(m)) for m in range(60)))
    before = engine.counts
    judged = before.judged
    assert _feed(engine, (_at(m, float("nan")) for m in range(60, 65))) == []
    assert engine.counts.judged == judged


def test_old_samples_are_learned_but_not_judged() -> None:
    engine = _engine()
    _feed(engine, (_at(m, _wave(m)) for m in range(60)))
    engine.process(_at(200, 1.0, host="other"))
    assert _feed(engine, (_at(m, 300.0) for m in range(60, 70))) == []
    assert engine.counts.stale == 10


def test_values_outside_an_items_range_cannot_be_judged() -> None:
    engine = _engine()
    assert _feed(engine, (_at(m, 150.0, item="cpu.user") for m in range(60))) == []
    assert engine.counts.invalid == 60


def test_crossing_the_static_threshold_is_an_alarm_of_its_own() -> None:
    engine = _engine()
    events = _feed(engine, (_at(m, 91.0, item="mem.swapused.percent") for m in range(5)))
    (alarm,) = _detected(events)
    assert (alarm.severity, alarm.threshold) == ("critical", 80.0)
    assert [vote.detector for vote in alarm.votes] == ["threshold"]
    assert alarm.sentence.endswith("is above the alarm threshold of 80")
    assert "spike" not in alarm.sentence
    back = _feed(engine, (_at(m, 20.0, item="mem.swapused.percent") for m in range(5, 9)))
    assert alarm.event_id in [event.event_id for event in _cleared(back)]


def test_a_counter_is_judged_by_its_rate_and_a_reset_does_not_fire() -> None:
    engine = _engine(confirm_points=1)
    total = 0.0
    events = []
    for minute in range(90):
        total = 5.0 if minute in (50, 70) else total + 60 * _wave(minute)
        events += engine.process(_at(minute, total, item="requests_total"))
    assert events == []
    for minute in range(90, 96):
        total += 60 * 900
        events += engine.process(_at(minute, total, item="requests_total"))
    assert _detected(events)[0].value == pytest.approx(900)


def _scrape(minute: int, idle: float, cores: int = 2) -> SampleBatch:
    rows = []
    for core in range(cores):
        for mode, share in (("idle", idle), ("user", 1 - idle)):
            labels = labels_text({"cpu": str(core), "mode": mode})
            seconds = 60.0 * minute * share
            rows.append(("m1", "node_cpu_seconds_total", labels, _T0 + minute * _MINUTE, seconds))
    rows.append(("m1", "node_load1", "", _T0 + minute * _MINUTE, 3.0))
    return from_rows(rows)


def test_node_exporters_cpu_counters_become_idle_and_user_shares() -> None:
    events = _feed(_engine(), (_scrape(m, 0.05) for m in range(6)))
    alarm = next(e for e in _detected(events) if e.series.item == "cpu.idle")
    assert alarm.value == pytest.approx(5.0)
    assert alarm.series.labels == {}
    assert alarm.direction == "drop"


def test_a_machine_that_falls_silent_is_reported_once_and_cleared() -> None:
    engine = _engine(silent_after_s=300)
    events = []
    for minute in range(30):
        hosts = ("m1", "m2") if minute < 10 or minute > 25 else ("m1",)
        for host in hosts:
            events += engine.process(_at(minute, 1.0, host=host))
    (silent,) = _detected(events)
    (back,) = _cleared(events)
    assert (silent.series.host, silent.series.item) == ("m2", "host.alive")
    assert silent.event_id == back.event_id
    assert silent.time_ms == _T0 + 15 * _MINUTE
    assert "m2 has reported nothing" in silent.sentence


def test_a_halt_of_the_whole_path_is_not_held_against_the_machines() -> None:
    engine = _engine(silent_after_s=300)
    events = []
    for minute in [*range(10), *range(300, 310)]:
        for host in ("m1", "m2"):
            events += engine.process(_at(minute, 1.0, host=host))
    assert events == []


_YEAR = 365 * 24 * 60


def _heartbeat(minute: float) -> SampleBatch:
    return from_rows([], clock_ms=int(_T0 + minute * _MINUTE))


@pytest.mark.parametrize("cut", [None, 4, 13])
def test_a_gateway_whose_clock_was_a_year_ahead_keeps_no_alarm_back(cut: int | None) -> None:
    hosts = ("m1", "m2")
    batches = [_at(m, 50.0, "cpu.idle", host) for m in range(6) for host in hosts]
    batches += [_heartbeat(6 + _YEAR)]
    batches += [_heartbeat(6 + beat / 4) for beat in range(1, BACK_AFTER + 1)]
    batches += [_at(m, 0.0, "cpu.idle") for m in range(9, 13)]
    batches += [_heartbeat(m) for m in range(13, 20)]
    engine, events = _engine(silent_after_s=300, startup_s=0), list[Message]()
    for number, batch in enumerate(batches):
        if number == cut:
            _, arrays = unpack(pack(1, engine.snapshot()))
            engine = _engine(silent_after_s=300, startup_s=0)
            engine.restore(arrays)
        events += engine.process(batch)
    told = [(event.series.host, event.series.item, event.time_ms) for event in _detected(events)]
    assert [each[:2] for each in told] == [
        ("m1", "cpu.idle"),
        ("m2", "host.alive"),
        ("m1", "host.alive"),
    ]
    assert all(time_ms < _T0 + 20 * _MINUTE for _, _, time_ms in told)


def test_late_heartbeats_beside_one_in_time_set_no_clock_back() -> None:
    engine = _engine(silent_after_s=300)
    for minute in range(30):
        engine.process(_at(minute, 1.0))
        for late in range(BACK_AFTER - 1):
            engine.process(_heartbeat(minute - 10 + late / 100))
        assert engine._liveness.clock_ms == _T0 + minute * _MINUTE


def _daily_engine(periodic: bool) -> list[Message]:
    rng = np.random.default_rng(4)
    engine = _engine(recent_points=1)
    events = []
    for hour in range(9 * 24):
        swing = 50 * np.sin(2 * np.pi * hour / 24) if periodic else 0.0
        events += engine.process(_at(hour * 60, 100 + swing + rng.normal(0, 0.5)))
    events += _feed(engine, (_at(h * 60, 400.0) for h in range(9 * 24, 9 * 24 + 3)))
    return events


def test_a_series_with_a_daily_rhythm_is_judged_by_chain_and_amplitude() -> None:
    (event,) = [e for e in _detected(_daily_engine(periodic=True)) if e.value == 400.0]
    assert event.periodic is True
    assert "chain: at this time of day" in event.sentence
    assert "long_term" not in event.sentence


def test_a_series_without_a_rhythm_is_judged_by_short_and_long_term() -> None:
    (event,) = [e for e in _detected(_daily_engine(periodic=False)) if e.value == 400.0]
    assert event.periodic is False
    assert "chain" not in event.sentence


def test_by_majority_three_of_five_must_agree() -> None:
    engine = _engine(confirm_points=1, combination=Combination(mode="vote").model_dump())
    rng = np.random.default_rng(6)
    for m in range(400):
        engine.process(_at(m, 100 + rng.normal()))
    events = _feed(engine, (_at(m, 300.0) for m in range(400, 406)))
    (event,) = _detected(events)
    assert sum(vote.anomalous for vote in event.votes) >= 3
    assert len(event.votes) == 5


class _Memory:
    """A snapshot store that a crash can find in any state it was left in."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, Stored]] = []

    def write(self, offset: int, arrays: Mapping[str, Array]) -> None:
        self.kept = [(str(offset), Stored(pack(offset, arrays))), *self.kept][:2]

    def newest_first(self) -> Iterator[tuple[str, Stored]]:
        return iter(self.kept)

    def begin_again(self) -> None:
        raise AssertionError("its stream is the same one")


def _stream() -> list[bytes]:
    rng = np.random.default_rng(8)
    batches = []
    for minute in range(120):
        rows = [
            (f"m{h}", "queue", "", _T0 + minute * _MINUTE, 100 + rng.normal() + jump)
            for h in range(4)
            if not (h == 3 and 60 < minute < 80)
            for jump in [300.0 if h == minute // 30 and minute % 30 > 24 else 0.0]
        ]
        rows += [("m0", "n_total", "", _T0 + minute * _MINUTE, float(minute * minute))]
        batches.append(encode(from_rows(rows)))
    return batches


_STREAM = _stream()


def _ids(events: Iterable[Message]) -> set[str]:
    return {event.message_id() for event in events}


@cache
def _undisturbed() -> set[str]:
    worker = DetectorWorker(0, EngineSettings.model_validate(QUICK), _Memory())
    return _ids(e for offset, body in enumerate(_STREAM) for e in worker.process(offset, body))


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(crashes=st.lists(st.integers(1, len(_STREAM) - 1), max_size=4), every=st.integers(3, 40))
def test_crashes_at_any_point_neither_lose_nor_add_events(crashes: list[int], every: int) -> None:
    assert len(_undisturbed()) > 4
    store = _Memory()
    seen: set[str] = set()
    stops = iter([*sorted(crashes), None])
    for stop in stops:
        # A crash loses all but the snapshots: a new worker starts where the last one says.
        worker = DetectorWorker(0, EngineSettings.model_validate(QUICK), store)
        offset = worker.restore()
        for number in range(0 if offset is None else offset + 1, len(_STREAM)):
            if stop is not None and number >= stop:
                break
            seen |= _ids(worker.process(number, _STREAM[number]))
            if number % every == 0:
                worker.snapshot(number)
    assert seen == _undisturbed()


def test_a_damaged_snapshot_is_refused_and_the_one_before_is_taken() -> None:
    store = _Memory()
    settings_ = EngineSettings.model_validate(QUICK)
    worker = DetectorWorker(0, settings_, store)
    for offset in range(40):
        worker.process(offset, _STREAM[offset])
        if offset in (10, 30):
            worker.snapshot(offset)
    name, data = store.kept[0][0], store.kept[0][1].data
    for broken in (data[:-1], data[:100] + b"?" + data[101:], b"", b"x" * len(data)):
        store.kept[0] = (name, Stored(broken))
        assert DetectorWorker(0, settings_, store).restore() == 10
    store.kept = [(name, Stored(b"nothing"))]
    assert DetectorWorker(0, settings_, store).restore() is None


def test_a_detector_with_other_settings_begins_anew_and_the_rest_goes_on() -> None:
    engine = _engine()
    _feed(engine, (_at(m, _wave(m)) for m in range(60)))
    _, arrays = unpack(pack(7, engine.snapshot()))
    changed = _engine(
        detectors={"short_term": {"points": 9}, **QUICK["detectors"]}
        | {"short_term": {"points": 9, "window_points": 60, "blocks": 6, "min_points": 20}}
    )
    changed.restore(arrays)
    assert changed.series == 1
    # SS has to learn again before the two can agree; LS has not.
    assert not _detected(_feed(changed, (_at(m, _wave(m)) for m in range(60, 90))))
    (event,) = _detected(_feed(changed, (_at(m, 300.0) for m in range(90, 96))))
    assert all(vote.judged for vote in event.votes if vote.detector.endswith("_term"))


def test_more_series_than_allowed_are_refused_and_counted() -> None:
    engine = _engine(max_series=3)
    for item in ("a", "b_total", "c", "d", "e_total"):
        for minute in range(2):
            engine.process(_at(minute, 1.0, item=item))
    assert engine.series == 3
    assert engine.counts.refused == 3
    _, arrays = unpack(pack(1, engine.snapshot()))
    again = _engine(max_series=3)
    again.restore(arrays)
    again.process(_at(5, 1.0, item="f"))
    assert again.series == 3


def test_ten_thousand_series_take_a_few_kilobytes_each() -> None:
    assert _engine().bytes_per_series < 8192


@pytest.mark.parametrize(("step_s", "opens_at_s"), [(1, 45), (15, 45), (60, 60)])
def test_an_alarm_of_an_item_that_comes_in_bursts_needs_longer(
    step_s: int, opens_at_s: int
) -> None:
    engine, other = _engine(), _engine(overrides={"series": [{"alarm_confirm_s": 0}]})
    times = range(0, 121, step_s)
    events = _feed(engine, (_at(s / 60, 3.0, "cpu.idle") for s in times))
    assert [(e.time_ms - _T0) // 1000 for e in _detected(events)] == [opens_at_s]
    assert len(_detected(_feed(other, [_at(0, 3.0, "cpu.idle")]))) == 1


def _from_agent(second: float, age_s: float, item: str, value: float) -> SampleBatch:
    """One sample as the agent sends it, ``second`` seconds after the beginning."""
    sample = Sample(item=item, time_ms=int(_T0 + second * 1000), value=value)
    return from_message(MetricBatch(host="m1", samples=(sample,), agent_age_s=age_s))


def test_what_starts_raises_no_alarm_by_its_own_start() -> None:
    engine = _engine()
    busy = (_from_agent(s, s + 20, "cpu.idle", 2.0) for s in range(95))
    calm = (_from_agent(s, s + 20, "cpu.idle", 70.0) for s in range(95, 200))
    assert _detected(_feed(engine, busy)) == []
    assert _detected(_feed(engine, calm)) == []


def test_load_that_outlasts_the_start_and_a_full_disk_are_alarms() -> None:
    engine = _engine()
    events = _feed(engine, (_from_agent(s, s, "cpu.idle", 2.0) for s in range(200)))
    assert [(e.time_ms - _T0) // 1000 for e in _detected(events)] == [120 + 45]
    disk = "df.bytes.used.percent"
    events = _feed(engine, (_from_agent(200 + s, s, disk, 99.0) for s in range(12)))
    assert [e.series.item for e in _detected(events)] == [disk]


def test_an_agent_that_starts_again_and_again_hides_no_alarm() -> None:
    engine = _engine()
    events = _feed(engine, (_from_agent(s, s % 60, "cpu.idle", 2.0) for s in range(400)))
    assert len(_detected(events)) == 1


def test_of_a_series_first_minutes_nothing_is_said() -> None:
    def said(**settings: Any) -> list[AnomalyDetected]:
        engine = _engine(**settings)
        values = [_wave(s) for s in range(60)] + [300.0] * 10 + [_wave(s) for s in range(150)]
        return _detected(_feed(engine, (_at(s / 60, v) for s, v in enumerate(values))))

    assert said() == []
    assert said(startup_s=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step_s", "opens_at_s"), [(1, 10), (5, 10), (7, 14), (15, 15), (60, 60), (3600, 3600)]
)
def test_a_threshold_must_be_crossed_for_seconds_however_far_apart_points_are(
    step_s: int, opens_at_s: int
) -> None:
    engine = _engine()
    times = range(0, opens_at_s + step_s, step_s)
    events = _feed(engine, (_at(s / 60, 95.0, "mem.swapused.percent") for s in times))
    alarms = [e for e in _detected(events) if e.votes[0].detector == "threshold"]
    assert [(alarm.time_ms - _T0) // 1000 for alarm in alarms] == [opens_at_s]
    begin = opens_at_s + step_s
    events = _feed(
        engine,
        (_at((begin + s) / 60, 20.0, "mem.swapused.percent") for s in range(0, 3601, step_s)),
    )
    ends = [e for e in _cleared(events) if e.event_id == alarms[0].event_id]
    assert [(end.time_ms - _T0) // 1000 for end in ends] == [begin + opens_at_s]


def test_two_seconds_of_load_are_no_alarm() -> None:
    engine = _engine()
    values = [20.0, 95.0, 95.0, 95.0, 20.0] * 20
    events = _feed(engine, (_at(s / 60, v, "mem.swapused.percent") for s, v in enumerate(values)))
    assert [e for e in _detected(events) if e.votes[0].detector == "threshold"] == []


def test_a_setting_that_counted_points_is_refused_with_the_one_in_seconds() -> None:
    with pytest.raises(ValueError, match="alarm_confirm_points: say alarm_confirm_s") as refused:
        EngineSettings.model_validate({"alarm_confirm_points": 2, "alarm_clear_points": 2})
    assert "alarm_clear_points: say alarm_clear_s" in str(refused.value)
