"""Changes of pace: what has grown faster for some days is forecast to grow on like that."""

from __future__ import annotations

import numpy as np
import pytest

from services.predictor.behaviour import Kind
from services.predictor.forecasters import Forecast
from services.predictor.pace import at_present_pace, evened
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
    history = _grown(before, after, ago)
    selector = Selector(EngineSettings(horizon=168))
    (choice,) = selector.choose([history], [Kind(Behaviour.STABLE, "told so")], [0])
    assert isinstance(choice, Choice)
    (found,) = selector.forecast([choice], [history])
    assert isinstance(found, Forecast)
    pace = (found.mean[-1] - history[-1]) / 168
    assert pace == pytest.approx(after, rel=0.3)


def test_one_pace_is_left_of_two_and_the_newest_values_stay() -> None:
    history = _grown(1, 3, 96)
    even = evened(history, 24)
    np.testing.assert_array_equal(even[-96:], history[-96:])
    halves = even[336] - even[0], even[-1] - even[336]
    assert halves[0] == pytest.approx(halves[1], rel=0.1)
    gaps = np.where(_HOURS % 7 == 0, np.nan, history)
    found = evened(gaps, 24)
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
        np.testing.assert_array_equal(evened(history[:end], 24), history[:end])


def test_a_pace_needs_a_week_before_it_and_a_day() -> None:
    short = np.append(np.zeros(150), 1.0 * np.arange(48))
    np.testing.assert_array_equal(evened(short, 24), short)
    table = _grown(1, 9, 96)[None]
    assert at_present_pace(table, 1) is table
    assert not np.array_equal(at_present_pace(table, 24), table)


def test_a_change_of_pace_is_the_same_in_any_unit_and_nothing_is_made_of_nothing() -> None:
    history = _grown(1, 4, 96)
    for unit in (2.0**-900, 2.0**900):
        np.testing.assert_array_equal(evened(history * unit, 24), evened(history, 24) * unit)
    assert np.isnan(evened(np.full(30, np.nan), 24)).all()
