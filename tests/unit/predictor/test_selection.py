"""Tests of who speaks for a series: who forecast it well on its own past, weighted by how well."""

from __future__ import annotations

import numpy as np
import pytest

from services.predictor.backtest import backtest
from services.predictor.behaviour import Kind
from services.predictor.forecasters import CannotForecast, Forecast, make
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings
from shared.items import Behaviour

_STABLE = Kind(Behaviour.STABLE, "told so")
_VOLATILE = Kind(Behaviour.VOLATILE, "told so")
_STEPS = np.arange(336)
_NOISE = np.random.default_rng(3).normal(size=336)
_DAILY = 40 + 10 * np.sin(2 * np.pi * _STEPS / 24)


def _choice(history: np.ndarray, kind: Kind = _VOLATILE, **settings: object) -> Choice:
    (found,) = Selector(EngineSettings(**settings)).choose([history], [kind], [len(history)])
    assert isinstance(found, Choice), found
    return found


def test_those_that_forecast_about_as_well_speak_together() -> None:
    found = _choice(_DAILY + 3 * _NOISE)
    assert found.forecaster == "combination"
    assert sum(found.weights.values()) == pytest.approx(1)
    assert list(found.weights.values()) == sorted(found.weights.values(), reverse=True)
    assert {"arima", "theta", "ridge"} <= set(found.weights)
    assert "drift" not in found.weights
    assert "in 4 backtests" in found.why["choice"]


def test_one_that_is_far_better_than_all_others_speaks_alone() -> None:
    found = _choice(0.2 * _STEPS, _STABLE, models=dict.fromkeys(Behaviour, ("theta",)))
    assert found.forecaster == "drift"
    assert found.weights == {"drift": 1}


def test_a_preference_of_nothing_weighs_all_alike_and_a_large_one_leaves_the_best() -> None:
    walk = _NOISE.cumsum()
    even, best = (_choice(walk, preference=power) for power in (0, 100))
    assert set(even.weights.values()) == {1 / 6}
    errors = {n: float(e) for n, e in best.why.items() if n.startswith("backtest_")}
    assert next(iter(best.weights)) == min(errors, key=errors.get).removeprefix("backtest_")
    assert next(iter(best.weights.values())) > 0.5


def test_a_short_history_is_forecast_by_who_can_and_none_by_nobody() -> None:
    assert "ridge" not in _choice(0.2 * np.arange(16) + _NOISE[:16]).weights
    assert set(_choice(0.2 * np.arange(8)).weights) == {"drift"}
    (refused,) = Selector(EngineSettings()).choose([np.full(30, np.nan)], [_STABLE], [30])
    assert isinstance(refused, CannotForecast)


def test_choices_and_forecasts_of_many_series_are_those_of_each_alone() -> None:
    histories = [_DAILY + _NOISE, 0.2 * _STEPS, _NOISE.cumsum(), _DAILY[:90]]
    kinds, steps = [_STABLE, _VOLATILE, _STABLE, _STABLE], [1, 2, 3, 4]
    selector = Selector(EngineSettings())
    together = selector.choose(histories, kinds, steps)
    alone = [
        one
        for h, k, s in zip(histories, kinds, steps, strict=True)
        for one in selector.choose([h], [k], [s])
    ]
    assert together == alone
    choices = [one for one in together if isinstance(one, Choice)]
    for history, choice, found in zip(
        histories, choices, selector.forecast(choices, histories), strict=True
    ):
        (own,) = selector.forecast([choice], [history])
        assert isinstance(found, Forecast)
        assert isinstance(own, Forecast)
        np.testing.assert_array_equal(found.mean, own.mean)


@pytest.mark.parametrize("name", ["ridge", "arima", "seasonal_naive"])
def test_a_backtest_does_not_look_ahead(name: str) -> None:
    history = _DAILY + _NOISE
    history[100:105] = history[190:193] = np.nan
    changed = history.copy()
    changed[-24:] = 1000
    before, after = (
        backtest([make(name)], one[None], 24, 24, 8).errors[0, 0] for one in (history, changed)
    )
    assert before.shape == (8,)
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(before[1:], after[1:])
    assert after[0] > before[0] + 500


def test_where_the_chosen_models_refuse_what_came_since_a_simple_one_speaks() -> None:
    class Refuses:
        def forecast(self, histories: list[np.ndarray], *_: int) -> list[CannotForecast]:
            return [CannotForecast("no order fits")] * len(histories)

    selector = Selector(EngineSettings())
    selector._forecasters["arima"] = Refuses()
    chosen = Choice(weights={"arima": 1.0}, why={}, step=0)
    other = Choice(weights={"naive": 1.0}, why={}, step=0)
    refused, kept = selector.forecast([chosen, other], [_DAILY, _NOISE])
    assert isinstance(refused, Forecast)
    assert refused.mean[:24] == pytest.approx(_DAILY[-24:])
    assert isinstance(kept, Forecast)
    partly = Choice(weights={"arima": 0.6, "naive": 0.4}, why={}, step=0)
    (left,) = selector.forecast([partly], [_NOISE])
    assert isinstance(left, Forecast)
    np.testing.assert_allclose(left.mean, kept.mean)
    (nothing,) = selector.forecast([chosen], [np.full(336, np.nan)])
    assert isinstance(nothing, CannotForecast)


def test_intervals_hold_what_they_promise_also_where_errors_have_heavy_tails() -> None:
    rng = np.random.default_rng(8)
    rows = 50 + 10 * np.sin(2 * np.pi * np.arange(360) / 24) + rng.standard_t(3, size=(60, 360))
    selector = Selector(EngineSettings())
    chosen = selector.choose([row[:336] for row in rows], [_VOLATILE] * 60, [0] * 60)
    choices = [one for one in chosen if isinstance(one, Choice)]
    inside = []
    for row, found in zip(
        rows, selector.forecast(choices, [row[:336] for row in rows]), strict=True
    ):
        assert isinstance(found, Forecast)
        inside.append((found.lower <= row[336:]) & (row[336:] <= found.upper))
    assert 0.93 <= np.mean(inside) < 0.99
