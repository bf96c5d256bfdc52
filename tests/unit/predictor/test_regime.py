"""What was is brought to the present: accidents are taken out, and one pace is left of two."""

from __future__ import annotations

import numpy as np
import pytest

from services.predictor.behaviour import Kind
from services.predictor.forecasters import Forecast
from services.predictor.regime import as_now, at_present_pace
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings
from shared.items import Behaviour

_HOURS = np.arange(672)


def _grown(before: float, after: float, ago: int, seed: int = 3) -> np.ndarray:
    pace = np.where(672 - ago > _HOURS, before, after)
    return 10 + (pace * np.random.default_rng(seed).gamma(2, 0.5, size=672)).cumsum()


@pytest.mark.parametrize(("before", "after", "ago"), [(0.01, 0.05, 60), (0.05, 0.01, 100)])
def test_a_disk_that_changed_its_pace_is_forecast_at_the_new_one(
    before: float, after: float, ago: int
) -> None:
    histories = [_grown(before, after, ago, seed) for seed in range(6)]
    selector = Selector(EngineSettings(horizon=168))
    choices = selector.choose(histories, [Kind(Behaviour.STABLE, "told so")] * 6, [0] * 6)
    chosen = [one for one in choices if isinstance(one, Choice)]
    paces = [
        (found.mean[-1] - history[-1]) / 168
        for history, found in zip(histories, selector.forecast(chosen, histories), strict=True)
        if isinstance(found, Forecast)
    ]
    assert len(paces) == 6
    assert np.median(paces) == pytest.approx(after, rel=0.3)


def test_one_pace_is_left_of_two_and_the_newest_values_stay() -> None:
    history = _grown(1, 3, 96)
    even = as_now(history, 24, paced=True)
    np.testing.assert_array_equal(even[-96:], history[-96:])
    halves = even[336] - even[0], even[-1] - even[336]
    assert halves[0] == pytest.approx(halves[1], rel=0.1)
    gaps = np.where(_HOURS % 7 == 0, np.nan, history)
    found = as_now(gaps, 24, paced=True)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(gaps))
    np.testing.assert_allclose(found[1:6], even[1:6], rtol=0.05)


_SAME = {
    "steady": _grown(1, 1, 5),
    "constant": np.full(672, 7.0),
    "a line": 0.5 * _HOURS,
    "noise": np.random.default_rng(1).normal(size=672),
    "a random walk": np.random.default_rng(2).normal(size=672).cumsum(),
    "daily": 10 * np.sin(2 * np.pi * _HOURS / 24),
    "a step yesterday": 0.1 * _HOURS + 50 * (_HOURS > 650),
    "two writes yesterday": 1.0 * (_HOURS > 650) + 1.0 * (_HOURS > 660),
    "a spike": np.where(_HOURS == 655, 1e9, 5.0),
    "a quiet weekend": np.minimum(_HOURS // 24 % 7, 4.0) + 5 * (_HOURS // 168),
}


@pytest.mark.parametrize("kind", list(_SAME))
def test_what_has_one_pace_stays_as_it_is(kind: str) -> None:
    history = _SAME[kind]
    for end in (672, 660, 610):
        (even,) = at_present_pace(history[None, :end], 24)
        np.testing.assert_array_equal(even, history[:end])


def test_a_pace_needs_a_week_before_it_and_a_day() -> None:
    short = np.append(np.zeros(150), 1.0 * np.arange(48))
    np.testing.assert_array_equal(as_now(short, 24, paced=True), short)
    table = _grown(1, 9, 96)[None]
    assert at_present_pace(table, 1) is table
    assert not np.array_equal(at_present_pace(table, 24), table)


def test_a_change_of_pace_is_the_same_in_any_unit_and_nothing_is_made_of_nothing() -> None:
    history = _grown(1, 4, 96)
    for unit in (2.0**-900, 2.0**900):
        np.testing.assert_array_equal(
            as_now(history * unit, 24, paced=True), as_now(history, 24, paced=True) * unit
        )
    assert np.isnan(as_now(np.full(30, np.nan), 24, paced=True)).all()


def test_one_or_two_accidents_are_taken_out_and_a_habit_stays() -> None:
    daily = 50 + 10 * np.sin(2 * np.pi * _HOURS / 24)
    for places in ([300], [100, 400]):
        peaks = daily + 500 * np.isin(_HOURS, places)
        np.testing.assert_allclose(as_now(peaks, 24, paced=False), daily, atol=3)
        steps = daily + 60 * np.searchsorted(places, _HOURS, side="right")
        level = steps[-1] - daily[-1]
        # A step in the middle of a slope is not known exactly, but most of it is gone.
        np.testing.assert_allclose(as_now(steps, 24, paced=False), daily + level, atol=36)
    for often in (
        daily + 500 * (_HOURS % 168 == 30),
        daily + 60 * (_HOURS // 168),
        _SAME["noise"],
        np.random.default_rng(4).poisson(0.02, 672) * 1.0,
    ):
        np.testing.assert_array_equal(as_now(often, 24, paced=True), often)
