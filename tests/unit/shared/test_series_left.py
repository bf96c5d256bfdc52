"""What a partition forgets of series that came and went, and that the others do not notice."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.engine import Engine as Detector
from services.detector.settings import EngineSettings as DetectorSettings
from services.predictor import engine as predictor
from services.predictor import watched
from services.predictor.engine import Engine as Predictor
from services.predictor.settings import EngineSettings as PredictorSettings
from shared.contracts import AnomalyCleared, AnomalyDetected, Message
from shared.derivation import Deriver
from shared.samples import SampleBatch, from_rows, labels_text
from shared.series import SeriesIndex
from shared.snapshots import pack, unpack

_HOUR_MS = 3_600_000
_T0 = 1_700_000_000_000 // _HOUR_MS * _HOUR_MS


@settings(max_examples=15)
@given(st.integers(1, 3000), st.data())
def test_an_index_finds_what_it_kept_under_its_new_number_and_nothing_else(
    size: int, data: st.DataObject
) -> None:
    index = SeriesIndex()
    rows = [(f"h{number}", "queue", "", 0, 0.0) for number in range(size)]
    index.resolve(from_rows(rows))
    kept = data.draw(st.sets(st.integers(0, size - 1), max_size=50))
    index.keep(np.array(sorted(kept), dtype=np.int64))
    found = {n: index.find(f"h{n}", "queue", "") for n in [*kept, *range(min(size, 50))]}
    assert found == {n: sorted(kept).index(n) if n in kept else None for n in found}
    assert index.row_of("new", "queue", "") == len(kept)


def _mounted(
    minute: float, mount: str, used: float, device: str
) -> list[tuple[str, str, str, int, float]]:
    labels = labels_text({"device": device, "fstype": "ext4", "mountpoint": mount})
    at = int(_T0 + minute * 60_000)
    amounts = {"size": 100.0, "free": 100 - used, "avail": 100 - used}
    return [("h", f"node_filesystem_{n}_bytes", labels, at, v) for n, v in amounts.items()]


def _points(batch: SampleBatch) -> set[tuple[str, str, int, float]]:
    columns = zip(batch.item_code, batch.label_code, batch.time_ms, batch.value, strict=True)
    return {(batch.items[i], batch.labels[t], int(at), float(v)) for i, t, at, v in columns}


@pytest.mark.parametrize("restored", [False, True])
def test_what_is_derived_of_series_that_stay_is_the_same_without_those_that_are_gone(
    restored: bool,
) -> None:
    forgetful, other = Deriver(), Deriver()
    for minute in range(10):
        rows = [("h", "x_total", "", int(_T0 + minute * 60_000), 60.0 * minute)]
        rows += _mounted(minute, "/", 50.0 + minute, "/dev/sda1")
        for deriver in (forgetful, other):
            # The disk has its name of a mount that goes.
            first = _mounted(0, "/first", 50.0, "/dev/sda1") if not minute else []
            deriver.apply(from_rows([*first, *rows]))
        for number in range(20):
            gone = _mounted(minute, f"/run/{minute}/{number}", 10.0, f"/dev/loop{minute}{number}")
            forgetful.apply(from_rows(gone))
    forgetful.forget(_T0 + 9 * 60_000)
    assert len(forgetful) < 100
    if restored:
        forgetful = Deriver.restored(unpack(pack(1, forgetful.snapshot()))[1])
    for minute in range(10, 14):
        rows = [("h", "x_total", "", int(_T0 + minute * 60_000), 60.0 * minute)]
        rows += _mounted(minute, "/", 50.0 + minute, "/dev/sda1")
        rows += _mounted(minute, "/new", 50.0 + minute, "/dev/sda1")
        made = [_points(deriver.apply(from_rows(rows))) for deriver in (forgetful, other)]
        assert made[0] >= {point for point in made[1] if point[0] == "x_total"}
        assert {p[1] for p in made[0] if p[0].startswith("df.")} == {
            p[1] for p in made[1] if p[0].startswith("df.")
        }


def _hours(hours: int, rows_of: dict[str, float], churn: int) -> Iterable[SampleBatch]:
    """Every hour these series of one machine, and some that are never seen again."""
    for hour in range(hours):
        at = _T0 + hour * _HOUR_MS
        rows = [("m1", item, "", at, value) for item, value in rows_of.items()]
        rows += [("m1", "queue", f'{{"pod":"p{hour}-{n}"}}', at, 1.0) for n in range(churn)]
        yield from_rows(rows, clock_ms=at)


def _fed(engine: Detector | Predictor, batches: Iterable[SampleBatch]) -> list[Message]:
    return [event for batch in batches for event in engine.process(batch)]


def _detector(**more: object) -> Detector:
    return Detector(
        DetectorSettings.model_validate(
            {"startup_s": 0, "max_clock_step_s": 7200, "silent_after_s": 86_400, **more}
        )
    )


def test_a_judge_that_is_full_of_series_that_ended_takes_new_ones() -> None:
    engine = _detector(max_series=300)
    assert _fed(engine, _hours(40, {"load": 1.0}, churn=10)) == []
    assert engine.counts.refused == 0
    assert engine.series < 300
    at = _T0 + 40 * _HOUR_MS
    full = [
        from_rows([("new", "df.bytes.used.percent", "", at + s * 1000, 99.0)], clock_ms=at)
        for s in range(0, 60, 10)
    ]
    (alarm,) = _fed(engine, full)
    assert isinstance(alarm, AnomalyDetected)


@pytest.mark.parametrize("cut", [None, 20, 35])
def test_an_alarm_that_is_open_ends_though_others_were_forgotten_around_it(cut: int | None) -> None:
    engine = _detector(max_series=300, series_ended_after_s=31_536_000)
    at = _T0 - 60_000
    events = _fed(
        engine,
        (
            from_rows([("m1", "df.bytes.used.percent", "", at + s * 1000, 99.0)], clock_ms=at)
            for s in range(0, 60, 10)
        ),
    )
    for number, batch in enumerate(_hours(40, {"load": 1.0}, churn=10)):
        if number == cut:
            _, arrays = unpack(pack(1, engine.snapshot()))
            engine = _detector(max_series=300, series_ended_after_s=31_536_000)
            engine.restore(arrays)
        events += engine.process(batch)
    at = _T0 + 40 * _HOUR_MS
    events += _fed(
        engine,
        (
            from_rows([("m1", "df.bytes.used.percent", "", at + s * 1000, 10.0)], clock_ms=at)
            for s in range(0, 60, 10)
        ),
    )
    opened, ended = events
    assert isinstance(opened, AnomalyDetected)
    assert isinstance(ended, AnomalyCleared)
    assert ended.event_id == opened.event_id


def test_a_predictor_forgets_what_ended_and_forecasts_the_others_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (watched, predictor):
        monkeypatch.setattr(module, "MAX_SERIES", 400)
    chosen = PredictorSettings(
        max_clock_step_s=7200, forecasters={"arima": {"max_p": 1, "max_q": 1}}
    )
    engines = [Predictor(chosen), Predictor(chosen)]
    told: list[list[Message]] = [[], []]
    for hour in range(48):
        at = _T0 + hour * _HOUR_MS
        rows = [("h1", "df.bytes.used.percent", "", at, 10 + hour * 1.5)]
        for engine, heard, churn in zip(engines, told, (0, 10), strict=True):
            gone = [
                ("h1", "df.bytes.used.percent", f'{{"mount":"/{hour}-{n}"}}', at, 5.0)
                for n in range(churn)
            ]
            heard.extend(engine.process(from_rows([*rows, *gone], clock_ms=at)))
    assert engines[1].series < 400
    assert told[0] == told[1] != []
    curves = [engine.curve(told[0][0].series) for engine in engines]
    assert curves[0] == curves[1]
