"""Series that nobody tuned for: any unit, any step, constants, steps, counts, numbers at the edge.

Neither a detector nor a forecaster may depend on the unit that a sender chose, break, say what
cannot be, or go on telling one change for ever.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.detectors import Votes
from services.predictor.behaviour import behaviour_of
from services.predictor.forecasters import Forecast
from services.predictor.forecasters import make as forecaster
from services.predictor.passage import passage_of
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings
from tests.hostile.judged_series import judged

_FIVE_MINUTES, _HOUR, _DAY = 300_000, 3_600_000, 86_400_000
_POINTS = 240
_STEPS = np.arange(_POINTS)
_NOISE = np.random.default_rng(23).normal(size=_POINTS)


def _kinds() -> dict[str, np.ndarray]:
    """Rows that senders of all sorts send; what changes does so in the middle."""
    late = _STEPS >= _POINTS // 2
    return {
        "constant": np.full(_POINTS, 3.0),
        "zeros": np.zeros(_POINTS),
        "line": 2.0 * _STEPS,
        "alternating": _STEPS % 2 * 1.0,
        "noise": 50 + _NOISE,
        "daily": 50 + 10 * np.sin(2 * np.pi * _STEPS / 24) + _NOISE,
        "walk": _NOISE.cumsum(),
        "quantised": np.round(50 + _NOISE),
        "counts": np.random.default_rng(4).poisson(0.4, _POINTS).astype(np.float64),
        "saturated": np.minimum(100.0, 95 + 10 * np.sin(2 * np.pi * _STEPS / 24) + 3 * _NOISE),
        "counter with resets": _STEPS % 90 * 5.0,
        "another unit": np.where(late, 1024.0, 1.0) * (50 + _NOISE),
        "step": 50 + _NOISE + 30 * late,
        "step of a constant": np.where(late, 30.0, 1.0),
        "constant, then noise": np.where(late, 50 + _NOISE, 50.0),
        "one spike": np.where(_STEPS == _POINTS // 2, 1e6, 1.0),
        "growing ever faster": np.exp(_STEPS / 20),
    }


def _judged(
    rows: np.ndarray, step_ms: int, moments: np.ndarray = _STEPS
) -> tuple[list[list[int]], np.ndarray, list[Votes]]:
    return judged(rows, step_ms, moments)


@pytest.mark.parametrize("step_ms", [1000, _FIVE_MINUTES, _HOUR, _DAY])
def test_one_change_is_told_a_few_times_at_most_at_any_step(step_ms: int) -> None:
    kinds = _kinds()
    opened, anomalous, _ = _judged(np.array(list(kinds.values())), step_ms)
    found = dict(zip(kinds, opened, strict=True))
    share = dict(zip(kinds, anomalous.mean(axis=1).tolist(), strict=True))
    # Of what never changes nothing is to be told, however often it is looked at.
    assert {name: found[name] for name in ("constant", "zeros", "alternating")} == {
        "constant": [],
        "zeros": [],
        "alternating": [],
    }
    assert max(len(places) for places in found.values()) <= 4, found
    for name in ("noise", "daily", "walk"):
        assert share[name] < 0.1, (name, share[name])
    # Two minutes of a series are too few to promise an alarm in two weeks.
    for name in ("another unit", "step of a constant", "one spike") if step_ms > 1000 else ():
        assert _POINTS // 2 in found[name], (name, found[name])


_IRREGULAR = {
    "jitter": np.random.default_rng(6).uniform(0.5, 1.5, _POINTS).cumsum(),
    "at random": np.random.default_rng(7).exponential(1.0, _POINTS).cumsum() + 0.01 * _STEPS,
    "a long gap": _STEPS + 40 * (_STEPS >= _POINTS // 2),
    "five times as often": np.where(_STEPS < 120, 1.0, 0.2).cumsum(),
    "summer time": _STEPS + 1.0 * (_STEPS >= _POINTS // 2),
}


@pytest.mark.parametrize("steps", list(_IRREGULAR))
def test_points_at_irregular_times_are_no_anomalies(steps: str) -> None:
    kinds = _kinds()
    moments = _IRREGULAR[steps]
    daily = 50 + 10 * np.sin(2 * np.pi * moments / 24) + _NOISE
    rows = np.array([kinds["constant"], kinds["noise"], kinds["walk"], daily])
    opened, anomalous, _ = _judged(rows, _HOUR, moments)
    assert opened[0] == []
    assert max(len(places) for places in opened) <= 2, opened
    assert anomalous.mean(axis=1).max() < 0.1


@pytest.mark.parametrize("power", [-60, 60])
def test_the_unit_of_a_series_changes_no_verdict_on_it(power: int) -> None:
    rows = np.array(list(_kinds().values()))
    _, _, votes = _judged(np.concatenate([rows, rows * 2.0**power]), _HOUR)
    for one in votes:
        for name in ("rarity", "threshold", "kind", "score"):
            first, second = np.split(one.numbers[name], 2)
            np.testing.assert_array_equal(first, second, err_msg=name)


def test_numbers_at_the_edge_are_judged_without_an_overflow() -> None:
    signs = np.where(_STEPS % 3, 1.0, -1.0)
    rows = [signs * 1e308, signs * 1e-308, (50 + _NOISE) * 1e299, (50 + _NOISE) * 1e-299]
    _, _, votes = _judged(np.array(rows), _FIVE_MINUTES)
    for one in votes:
        for name, numbers in one.numbers.items():
            assert np.isfinite(numbers).all(), name


_SELECTOR = Selector(EngineSettings(horizon=12))


def _forecast(history: np.ndarray) -> Forecast:
    kind = behaviour_of("cpu.idle", history, 24)
    (choice,) = _SELECTOR.choose([history], [kind], [0])
    assert isinstance(choice, Choice), choice
    (found,) = _SELECTOR.forecast([choice], [history])
    assert isinstance(found, Forecast), found
    return found


@pytest.mark.parametrize("kind", list(_kinds()))
def test_a_forecast_is_the_same_in_any_unit_and_possible(kind: str) -> None:
    history = _kinds()[kind]
    found = _forecast(history)
    span = np.ptp(history) or 1.0
    for curve in (found.mean, found.lower, found.upper):
        assert (curve >= history.min() - 2 * span).all()
        assert (curve <= history.max() + 2 * span).all()
    for power in (-900, -40, 50, 900):
        other = _forecast(history * 2.0**power)
        np.testing.assert_array_equal(other.mean, found.mean * 2.0**power)
        np.testing.assert_array_equal(other.upper, found.upper * 2.0**power)
        reached = [
            passage_of(one, forecast, limit, above=True, stable=True).probability
            for one, forecast, limit in (
                (history, found, history.max() + span),
                (history * 2.0**power, other, (history.max() + span) * 2.0**power),
            )
        ]
        assert reached[0] == reached[1]


def test_slopes_are_said_in_the_unit_of_the_series() -> None:
    (found,) = forecaster("drift").forecast([3e9 * _STEPS], 5, 24)
    assert isinstance(found, Forecast)
    assert found.why["slope"] == "3e+09 a step"


@given(
    st.lists(
        st.floats(allow_nan=True, allow_infinity=False, allow_subnormal=True),
        min_size=20,
        max_size=60,
    )
)
@settings(max_examples=25, deadline=None)
def test_whatever_was_measured_the_simple_forecasters_answer_with_numbers(
    values: list[float],
) -> None:
    for name in ("naive", "drift", "theta", "holt", "ridge"):
        (found,) = forecaster(name).forecast([np.array(values)], 12, 24)
        if isinstance(found, Forecast):
            for curve in (found.mean, found.lower, found.upper):
                assert np.isfinite(curve).all(), name


def test_a_weekly_job_is_told_at_first_and_no_more(noise: np.random.Generator) -> None:
    day = 288
    at = np.arange(42 * day)
    hour, weekday = at % day / 12, at // day % 7
    job = (weekday == 6) & (hour > 1) & (hour < 4)
    rows = 20 + noise.normal(size=(4, len(at))) + 50 * job
    # The last one is late by an hour, and another fault has nothing to do with it.
    rows[:, -day:] = np.roll(rows[:, -day:], 12, axis=1)
    fault = 37 * day + 100
    rows[3, fault : fault + 6] += 50
    opened, _, _ = _judged(rows, _FIVE_MINUTES, at)
    later = [[point for point in places if point >= 7 * day] for places in opened]
    during = [point for places in later for point in places if weekday[point] == 6]
    assert all(any(job[point] for point in places) for places in opened), "unknown at first"
    assert len(during) <= 2, "five weeks of four series"
    assert fault in later[3]


def test_steady_growth_and_a_new_beginning_are_no_anomalies_each_midnight() -> None:
    at = np.arange(60 * 24)
    uptime = at * 3600.0 % (9.3 * 86_400)
    growing = 3.5 * at
    opened, anomalous, _ = _judged(np.array([growing, uptime]), _HOUR, at)
    assert [point for point in opened[0] if point < 28 * 24] == []
    begins = np.flatnonzero(np.diff(uptime) < 0) + 1
    strays = [point for point in opened[1] if np.abs(begins - point).min() > 2]
    assert len(strays) <= 2, strays
    assert anomalous.mean(axis=1).max() < 0.1


def test_what_comes_every_other_day_becomes_usual_within_weeks(noise: np.random.Generator) -> None:
    at = np.arange(70 * 24)
    rows = np.empty((4, len(at)))
    for row in rows:
        level = 20.0
        for point in at:
            level = level + 1 + 0.5 * noise.normal()
            if level > 60 + 8 * noise.random():
                level = 20 + 3 * noise.random()
            row[point] = level
    opened, _, _ = _judged(rows, _HOUR, at)
    weekly = np.bincount([point // 168 for places in opened for point in places], minlength=10) / 4
    assert weekly[4:].mean() < 2.1, weekly


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(31)
