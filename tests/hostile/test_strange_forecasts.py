"""Disks and machines that nobody tuned for: no forecast says what cannot be, or what is silly.

Each series is told in one batch, as after an outage, and forecast once. Nothing is predicted of
what only stepped, peaked once, was resized or comes back every day; what fills is predicted.
"""

from __future__ import annotations

import numpy as np
import pytest

from services.predictor.engine import Engine
from services.predictor.settings import EngineSettings
from shared.contracts import AlarmPredicted, Curve, SeriesRef
from shared.samples import from_rows

_DISK, _IDLE, _LOAD = "df.bytes.used.percent", "cpu.idle", "load.5min"
_HOUR_MS, _START_MS = 3_600_000, 1_767_571_200_000
_POINTS = 672
_T = np.arange(_POINTS, dtype=np.float64)
_NOISE = np.random.default_rng(5).normal(size=_POINTS)
_AT_WORK = (_T // 24 % 7 < 5) & (_T % 24 > 8) & (_T % 24 < 18)


def _since(hours: int) -> np.ndarray:
    """Return the hours since so many hours before the end; 0 before."""
    return np.maximum(0.0, _T - (_POINTS - 1 - hours))


_CALM = {
    "constant, close to the threshold": np.full(_POINTS, 89.9),
    "a step last week": np.where(_T < 552, 50.0, 80.0) + 0.2 * _NOISE,
    "a step yesterday": np.where(_T < 650, 50.0, 85.0) + 0.05 * _NOISE,
    "two steps": 40 + 20.0 * (_T > 200) + 20.0 * (_T > 500) + 0.2 * _NOISE,
    "one reading of 100": np.where(_T == 300, 100.0, 60.0) + 0.1 * _NOISE,
    "one reading of 0": np.where(_T == 300, 0.0, 80.0) + 0.1 * _NOISE,
    "one peak of three hours": np.where((_T > 300) & (_T < 304), 95.0, 60.0) + 0.3 * _NOISE,
    "cleaned every week": 40 + 48 * (_T % 168) / 168 + 0.1 * _NOISE,
    "cleaned every night": 60 + 25 * (_T % 24) / 24 + 0.1 * _NOISE,
    "resized to twice the size": np.where(_T < 500, 80 + 0.01 * _T, 42 + 0.005 * _T),
    "stopped growing": np.minimum(40 + 0.07 * _T, 40 + 0.07 * 600) + 0.05 * _NOISE,
    "temporary files at work, then a holiday": 60 + 10.0 * _AT_WORK * (_T < 500) + 0.2 * _NOISE,
    "temporary files at work": 60 + 10.0 * _AT_WORK + 0.2 * _NOISE,
    "shrinking": 95 - 0.1 * _T,
    "all zero": np.zeros(_POINTS),
    "thirty noisy points": 60 + 3 * _NOISE[:30],
    "a month without values": np.where((_T > 100) & (_T < 632), np.nan, 60 + 0.01 * _T),
    "two points": np.array([50.0, 60.0]),
}
_FILLING = {
    "a leak since 30 hours": (50 + _since(30), 10),
    "a leak since four days": (50 + 0.3 * _since(96), 37),
    "steadily": (20 + 0.1 * _T, 29),
    "steadily, with one reading of 0": (np.where(_T == 300, 0.0, 20 + 0.1 * _T), 29),
    "steadily, after a clean-up": (np.where(_T < 400, 30 + 0.1 * _T, 15 + 0.1 * _T), 79),
    "since 25 points": (50 + 1.5 * np.arange(25.0), 3),
}


def _host(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def _told(series: dict[str, np.ndarray], item: str = _DISK) -> Engine:
    engine = Engine(EngineSettings())
    rows = [
        (_host(name), item, "", _START_MS + at * _HOUR_MS, float(value))
        for name, values in series.items()
        for at, value in enumerate(values, _POINTS - len(values))
        if np.isfinite(value)
    ]
    engine.process(from_rows(rows))
    return engine


@pytest.fixture(scope="module")
def disks() -> Engine:
    return _told({**_CALM, **{name: values for name, (values, _) in _FILLING.items()}})


def _curve(engine: Engine, name: str, item: str = _DISK) -> Curve:
    curve = engine.curve(SeriesRef(host=_host(name), item=item))
    assert curve is not None
    return curve


@pytest.mark.parametrize("name", list(_CALM))
def test_no_alarm_is_expected_of_what_does_not_fill(disks: Engine, name: str) -> None:
    curve = _curve(disks, name)
    assert (curve.probability or 0.0) < 0.4
    assert all(point.mean < 90 for point in curve.forecast)


@pytest.mark.parametrize("name", list(_FILLING))
def test_what_fills_is_expected_to_be_full_at_about_the_time(disks: Engine, name: str) -> None:
    curve, hours = _curve(disks, name), _FILLING[name][1]
    assert curve.probability is not None
    assert curve.probability > 0.5
    full = [at for at, point in enumerate(curve.forecast) if point.mean >= 90]
    assert full[0] == pytest.approx(hours, rel=0.35)


@pytest.mark.parametrize("pace", [1.5, 2.7])
def test_times_of_a_prediction_are_in_order_and_none_is_past(pace: float) -> None:
    engine, found = Engine(EngineSettings()), []
    for at, value in enumerate(20 + pace * np.arange(int(70 / pace))):
        time_ms = _START_MS + at * _HOUR_MS + 3_000_000
        events = engine.process(from_rows([("one", _DISK, "", time_ms, float(value))]))
        found += [event for event in events if isinstance(event, AlarmPredicted)]
    assert found
    for one in found:
        assert one.likely_from_ms is not None
        assert one.likely_until_ms is not None
        assert one.time_ms <= one.earliest_ms <= one.crossing_ms
        assert one.crossing_ms <= (one.latest_ms or one.crossing_ms)
        assert one.time_ms <= one.likely_from_ms <= one.crossing_ms <= one.likely_until_ms


_LIMITS = {_DISK: (0.0, 100.0), _IDLE: (0.0, 100.0), _LOAD: (0.0, np.inf)}
_ANY = {
    "falling fast": np.maximum(0.0, 100 - 0.2 * _T),
    "rising fast": np.minimum(100.0, 0.2 * _T),
    "at zero with rare bursts": np.where(np.arange(_POINTS) % 97 == 0, 80.0, 0.0),
    "alternating": np.where(np.arange(_POINTS) % 2, 95.0, 5.0),
    "growing ever faster": np.exp(_T / 150),
    "one giant reading": np.where(_T == 660, 100.0, 1.0),
    "wild": np.abs(50 * _NOISE) % 100,
}


@pytest.mark.parametrize("item", list(_LIMITS))
def test_bounds_stay_where_values_can_be_and_around_their_mean(item: str) -> None:
    engine = _told({**_CALM, **_ANY}, item)
    low, high = _LIMITS[item]
    for name in (*_CALM, *_ANY):
        curve = _curve(engine, name, item)
        assert curve.probability is None or 0 <= curve.probability <= 1
        for point in curve.forecast:
            assert low <= point.lower <= point.mean <= point.upper <= high, (name, point)
