"""What is different for some series: calendars, ranges, directions; and how long one is young."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.detector.calendars import Calendar, Calendars, local_ms
from services.detector.detectors import make
from services.detector.detectors.base import tick_of
from services.detector.detectors.surprise_kernel import DAILY, LAST
from services.detector.engine import Engine
from services.detector.overrides import Overrides, OverridesError
from services.detector.settings import EngineSettings, Settings
from shared.columns import Columns
from shared.contracts import AnomalyDetected
from shared.contracts.alerts import Stage
from shared.samples import SampleBatch, from_rows, labels_text
from shared.settings import SettingsError

_T0 = 1_700_000_000_000
_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_FILE = """
[calendars.japan]
zone = "Asia/Tokyo"
holidays = ["2026-11-23", "01-01"]

[[series]]
items = "queue"
min_deviation = 5

[[series]]
hosts = "web*"
items = "queue"
labels = {route = "/pay*"}
calendar = "japan"
direction = "drop"
min_deviation = 50
alarms_per_week = 0.1
"""


def _wave(at: int) -> float:
    return 100 + (at * 7919 % 13) / 13


def _engine(*rules: dict[str, Any], **more: Any) -> Engine:
    return Engine(EngineSettings.model_validate({"overrides": {"series": rules}, **more}))


def _judge(engine: Engine, value: float, item: str = "queue", points: int = 400) -> list[str]:
    """Return what is said of ``value`` after ``points`` usual minutes."""

    def at(minute: int, one: float) -> SampleBatch:
        return from_rows([("m1", item, "", _T0 + minute * _MINUTE, one)])

    for minute in range(points):
        assert not list(engine.process(at(minute, _wave(minute))))
    events = [e for e in engine.process(at(points, value)) if isinstance(e, AnomalyDetected)]
    return [event.direction.value for event in events]


def test_all_entries_that_fit_count_and_the_later_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "overrides.toml"
    path.write_text(_FILE)
    overrides = Overrides.read(path)

    assert overrides.of("web1", "queue", labels_text({"route": "/pay/card"})) == {
        "calendar": "japan",
        "direction": "drop",
        "min_deviation": 50,
        "alarms_per_week": 0.1,
    }
    assert overrides.of("web1", "queue", "") == {"min_deviation": 5}
    assert overrides.of("db1", "load.1min", "") == {}


def test_every_fault_of_a_file_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "overrides.toml"
    path.write_text(
        """
        [calendars.mars]
        zone = "Mars/Olympus"
        holidays = ["30-02", "2026-13-01"]
        [[series]]
        items = "queue"
        [[series]]
        direction = "up"
        speed = 3
        [[series]]
        minimum = 5
        maximum = 4
        """
    )
    with pytest.raises(OverridesError) as error:
        Overrides.read(path)
    text = str(error.value)
    for fault in (
        "overrides.toml",
        "calendars.mars.zone",
        "no time zone 'Mars/Olympus'",
        "30-02, 2026-13-01",
        "series.0: it changes nothing",
        "series.1.direction",
        "series.1.speed",
        "series.2: minimum 5.0 is not below maximum 4.0",
    ):
        assert fault in text, fault


def test_a_file_of_another_editor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "overrides.toml"
    path.write_bytes(b'\xef\xbb\xbf[[series]]\r\nitems = "queue"\r\nminimum = 5\r\n')
    assert Overrides.read(path).of("web1", "queue", "") == {"minimum": 5}
    path.write_bytes(b"a = " + b"9" * 5_000)
    with pytest.raises(OverridesError, match="no TOML"):
        Overrides.read(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[[series]\n", "at line 1"),
        ('[[series]]\ncalendar = "mars"\n', "series.0: no calendar 'mars'"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, fault: str
) -> None:
    path = tmp_path / "overrides.toml"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("BAROGRAPH_DETECTOR_OVERRIDES_FILE", str(path))
    with pytest.raises(SettingsError, match="OVERRIDES_FILE") as error:
        Settings.load("detector")
    assert fault in str(error.value)


def test_the_file_holds_for_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "overrides.toml"
    path.write_text('[[series]]\nitems = "queue"\njudged = false\n')
    monkeypatch.setenv("BAROGRAPH_DETECTOR_OVERRIDES_FILE", str(path))
    engine = Settings.load("detector").judging()
    assert _judge(Engine(engine), 900.0) == []
    assert _judge(Engine(engine), 900.0, item="other") == ["spike"]


def test_only_the_wanted_direction_is_told() -> None:
    assert _judge(_engine({"direction": "drop"}), 900.0) == []
    assert _judge(_engine({"direction": "drop"}), -900.0) == ["drop"]
    assert _judge(_engine({"direction": "spike"}), 900.0) == ["spike"]


@pytest.mark.slow
@pytest.mark.parametrize("points", [400, 601, 800])
@pytest.mark.parametrize("mode", ["surprise", "branch", "vote", "skyline"])
def test_what_is_nearer_than_the_least_deviation_is_not_told(mode: str, points: int) -> None:
    # A jump by 800 that stays: Skyline's nine, of the mean of three, need some points of it.
    def told(floor: float) -> list[str]:
        mode_ = {"mode": mode, "consensus": 4, "majority": 2}
        engine = _engine({"min_deviation": floor}, combination=mode_, confirm_points=1)
        for minute in range(points):
            engine.process(from_rows([("m1", "q", "", _T0 + minute * _MINUTE, _wave(minute))]))
        return [
            event.direction.value
            for minute in range(points, points + 3)
            for event in engine.process(from_rows([("m1", "q", "", _T0 + minute * _MINUTE, 900.0)]))
            if isinstance(event, AnomalyDetected)
        ]

    assert told(1000.0) == []
    assert told(10.0) == ["spike"]


def test_values_outside_the_valid_range_are_no_values() -> None:
    engine = _engine({"items": "queue", "minimum": 0, "maximum": 500})
    assert _judge(engine, 900.0) == []
    assert engine.counts.invalid == 1


def test_a_threshold_can_be_set_moved_and_taken_away() -> None:
    rules = (
        {"items": "queue", "threshold": 500, "alarm": "above"},
        {"items": "cpu.idle", "alarm": "none"},
    )
    engine = _engine(*rules, alarm_confirm_s=0)

    def votes(item: str, value: float) -> list[str]:
        events = engine.process(from_rows([("m1", item, "", _T0, value)]))
        return [v.detector for e in events if isinstance(e, AnomalyDetected) for v in e.votes]

    assert votes("queue", 501.0) == ["threshold"]
    assert votes("cpu.idle", 1.0) == []


def test_a_stricter_budget_asks_for_more_surprise() -> None:
    def threshold(*rules: dict[str, Any]) -> float:
        engine = _engine(*rules)
        for minute in range(400):
            engine.process(from_rows([("m1", "q", "", _T0 + minute * _MINUTE, _wave(minute))]))
        row = ("m1", "q", "", _T0 + 400 * _MINUTE, 9000.0)
        (event,) = engine.process(from_rows([row]))
        assert isinstance(event, AnomalyDetected)
        return event.votes[0].numbers["threshold"]

    strict, usual = threshold({"alarms_per_week": 0.25}), threshold()
    assert strict == pytest.approx(usual + np.log(2), abs=0.01)


def test_a_changed_file_holds_for_series_from_a_snapshot() -> None:
    engine = _engine()
    _judge(engine, 100.0)
    restored = _engine({"items": "queue", "judged": False})
    restored.restore(engine.snapshot())
    row = ("m1", "queue", "", _T0 + 500 * _MINUTE, 9000.0)
    assert list(restored.process(from_rows([row]))) == []


def test_a_series_is_silent_then_coarse_then_judged_by_its_own_history() -> None:
    assert _judge(_engine(), 900.0, points=15) == []
    for points, stage in ((110, Stage.COARSE), (310, Stage.OWN)):
        engine = _engine(detectors={"surprise": {"settled_days": 0.2}})
        for minute in range(points):
            engine.process(from_rows([("m1", "q", "", _T0 + minute * _MINUTE, _wave(minute))]))
        assert engine.stages()[stage] == 1
        row = ("m1", "q", "", _T0 + points * _MINUTE, 90_000.0)
        (event,) = engine.process(from_rows([row]))
        assert isinstance(event, AnomalyDetected)
        assert event.stage is stage


def test_a_static_threshold_speaks_while_a_series_is_silent() -> None:
    engine = _engine(alarm_confirm_s=0)
    (event,) = engine.process(from_rows([("m1", "df.bytes.used.percent", "", _T0, 99.0)]))
    assert isinstance(event, AnomalyDetected)
    assert event.stage is Stage.SILENT


def test_local_time_knows_daylight_saving() -> None:
    before = np.array([1_711_846_800_000 - 1])  # 2024-03-31 01:00 UTC, less a millisecond
    after = np.array([1_711_846_800_000])

    assert (local_ms(before, "Europe/Berlin") - before).tolist() == [_HOUR]
    assert (local_ms(after, "Europe/Berlin") - after).tolist() == [2 * _HOUR]
    assert local_ms(after, "UTC").tolist() == after.tolist()


def test_each_series_has_its_own_clock_and_holidays() -> None:
    new_year = 1_767_225_600_000  # 2026-01-01 00:00 UTC; 09:00 in Tokyo
    japan = Calendar(zone="Asia/Tokyo", holidays=("01-01", "2025-11-24"))
    calendars = Calendars([Calendar(), japan])
    times = np.array([new_year, new_year, new_year + 15 * _HOUR, new_year - 16 * _HOUR])
    local, off = calendars.look(np.array([0, 1, 1, 1], dtype=np.int16), times)
    assert (local - times).tolist() == [0, 9 * _HOUR, 9 * _HOUR, 9 * _HOUR]
    assert off.tolist() == [False, True, False, False]
    assert japan.is_holiday(1_763_942_400 // 86_400)
    assert not japan.is_holiday(1_763_942_400 // 86_400 + 365)


def test_a_holiday_is_not_compared_with_other_days() -> None:
    """Twelve days with a rhythm, then one that rests at its night's level."""

    def alarms(holidays: tuple[str, ...]) -> int:
        engine = _engine(combination={"mode": "branch"}, holidays=holidays, confirm_points=1)
        found = 0
        for hour in range(13 * 24):
            value = 100 + 60 * np.sin(2 * np.pi * hour / 24) + hour * 7919 % 13 / 13
            if hour >= 12 * 24:
                value = 45.0 + hour * 7919 % 13 / 13
            row = ("m1", "visits", "", 20_000 * _DAY + hour * _HOUR, float(value))
            events = engine.process(from_rows([row]))
            if hour >= 12 * 24 + 4:
                found += sum(isinstance(event, AnomalyDetected) for event in events)
        return found

    assert alarms(()) > 0
    assert alarms(("2024-10-16",)) == 0


@pytest.mark.parametrize("name", ["surprise", "chain", "amplitude"])
def test_on_a_holiday_the_time_of_day_says_nothing_and_is_not_learned(name: str) -> None:
    detector = make(name)
    state = Columns(detector.columns())
    state.grow(1)
    for hour in range(20 * 24):
        value = np.array([100 + 60 * np.sin(2 * np.pi * hour / 24)])
        detector.step(state, tick_of(value, np.array([hour * _HOUR])))
    moment = np.array([20 * _DAY + 6 * _HOUR])
    usual = detector.judge(state, tick_of(np.array([45.0]), moment))
    before = state.snapshot()
    off = detector.step(state, tick_of(np.array([45.0]), moment, holiday=np.array([True])))
    if name == "surprise":
        assert usual.numbers["time_of_day"][0] > 3
        assert off.numbers["time_of_day"][0] == 0
        times = slice(DAILY, LAST)
        np.testing.assert_array_equal(state["memory"][:1, times], before["memory"][:, times])
    else:
        assert usual.judged[0]
        assert not off.judged[0]
