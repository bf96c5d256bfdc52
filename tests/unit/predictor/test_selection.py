"""Who speaks for a series: the combination, unless a backtest clearly says another."""

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


def test_the_combination_speaks_where_no_other_is_clearly_better() -> None:
    found = _choice(_DAILY + 3 * _NOISE, models=dict.fromkeys(Behaviour, ("combination", "ets")))
    assert found.forecaster == "combination"
    assert found.why["choice"] == "combination: no other was clearly better in 8 backtests"


def test_drift_takes_its_place_on_steady_growth() -> None:
    found = _choice(0.2 * _STEPS + 0.01 * _NOISE, _STABLE)
    assert found.forecaster in {"drift", "arima"}
    assert "better than combination" in found.why["choice"]
    assert "in 8 backtests" in found.why["choice"]


def test_the_more_doubt_the_longer_the_combination_speaks() -> None:
    walk = _NOISE.cumsum()
    speakers = [_choice(walk, doubt=doubt).forecaster for doubt in (0, 10)]
    assert speakers[1] == "combination"
    assert speakers[0] != "combination"


def test_a_model_by_itself_that_does_not_beat_seasonal_naive_is_not_used() -> None:
    found = _choice(_DAILY + _NOISE, models=dict.fromkeys(Behaviour, ("holt",)))
    assert found.forecaster == "seasonal_naive"
    assert "holt do not beat seasonal_naive" in found.why["choice"]


def test_a_short_history_is_left_to_the_favourite_and_a_shorter_one_to_the_simple() -> None:
    assert _choice(0.2 * np.arange(16) + _NOISE[:16]).forecaster == "combination"
    shortest = _choice(0.2 * np.arange(8))
    assert shortest.forecaster == "drift"
    assert "too little history" in shortest.why["choice"]
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


@pytest.mark.parametrize("name", ["combination", "arima", "seasonal_naive"])
def test_a_backtest_does_not_look_ahead(name: str) -> None:
    history = _DAILY + _NOISE
    history[100:105] = history[190:193] = np.nan
    changed = history.copy()
    changed[-24:] = 1000
    forecasters = {name: make(name)}
    before, after = (
        backtest(forecasters, one[None], 24, 24, 8)[name][0] for one in (history, changed)
    )
    assert before.shape == (8,)
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(before[1:], after[1:])
    assert after[0] > before[0] + 500


def test_a_backtest_of_a_combination_is_that_of_its_members_median() -> None:
    table = (_DAILY + _NOISE)[None]
    combination = make("combination")
    (error,) = backtest({"combination": combination}, table, 24, 24, 1)["combination"]
    (found,) = combination.forecast([table[0, :-24]], 24, 24)
    assert isinstance(found, Forecast)
    assert error == pytest.approx(np.abs(found.mean - table[0, -24:]).mean())


def test_where_the_chosen_model_refuses_what_came_since_a_simple_one_speaks() -> None:
    class Refuses:
        def forecast(self, histories: list[np.ndarray], *_: int) -> list[CannotForecast]:
            return [CannotForecast("no order fits")] * len(histories)

    selector = Selector(EngineSettings())
    selector._forecasters["arima"] = Refuses()
    chosen = Choice(forecaster="arima", why={}, step=0)
    other = Choice(forecaster="naive", why={}, step=0)
    refused, kept = selector.forecast([chosen, other], [_DAILY, _NOISE])
    assert isinstance(refused, Forecast)
    assert refused.mean[:24] == pytest.approx(_DAILY[-24:])
    assert isinstance(kept, Forecast)
    (nothing,) = selector.forecast([chosen], [np.full(336, np.nan)])
    assert isinstance(nothing, CannotForecast)
