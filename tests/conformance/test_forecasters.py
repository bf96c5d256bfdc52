"""Tests of what every registered forecaster must do, whatever its method."""

from __future__ import annotations

import numpy as np
import pytest

from services.predictor.forecasters import CannotForecast, Forecast, Forecaster, make, registered
from services.predictor.forecasters.base import unit_of

_QUICK = {"arima_statsmodels": {"max_p": 1, "max_q": 1}, "neural_global": {"steps": 40}}
_HORIZON, _SEASON = 12, 24
_NAMES = list(registered())


def _forecaster(name: str) -> Forecaster:
    return make(name, _QUICK.get(name, {}))


def _history(points: int = 96) -> np.ndarray:
    steps = np.arange(points)
    noise = np.random.default_rng(5).normal(size=points)
    return 40 + 0.1 * steps + 5 * np.sin(2 * np.pi * steps / _SEASON) + noise


def _one(name: str, history: np.ndarray) -> Forecast:
    (found,) = _forecaster(name).forecast([history], _HORIZON, _SEASON)
    assert isinstance(found, Forecast), found
    return found


@pytest.mark.parametrize("name", _NAMES)
def test_a_forecast_is_finite_and_its_interval_holds_its_mean(name: str) -> None:
    found = _one(name, _history())
    for curve in (found.mean, found.lower, found.upper):
        assert curve.shape == (_HORIZON,)
        assert np.isfinite(curve).all()
    assert (found.lower < found.mean).all()
    assert (found.mean < found.upper).all()


@pytest.mark.parametrize("name", _NAMES)
def test_a_backtest_sees_the_means_that_a_forecast_has(name: str) -> None:
    unit = unit_of(_history())
    means = _forecaster(name).means(_history()[None] / unit, _HORIZON, _SEASON)
    assert means.shape == (1, _HORIZON)
    np.testing.assert_allclose(means[0] * unit, _one(name, _history()).mean, rtol=1e-6)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("history", [_history(), np.full(96, 42.0)], ids=["rhythm", "constant"])
def test_a_combination_sees_the_curves_that_a_forecast_has(name: str, history: np.ndarray) -> None:
    unit = unit_of(history)
    (curves,) = _forecaster(name).curves(history[None] / unit, _HORIZON, _SEASON)
    found = _one(name, history)
    expected = [found.mean, found.lower, found.upper]
    np.testing.assert_allclose(curves * unit, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", _NAMES)
def test_the_same_history_gives_the_same_forecast(name: str) -> None:
    one, other = _one(name, _history()), _one(name, _history())
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.upper, other.upper)


@pytest.mark.parametrize("name", _NAMES)
def test_a_constant_series_forecasts_itself(name: str) -> None:
    found = _one(name, np.full(96, 42.0))
    np.testing.assert_allclose(found.mean, 42.0)
    np.testing.assert_allclose(found.upper, 42.0)


@pytest.mark.parametrize("name", _NAMES)
def test_small_gaps_are_filled(name: str) -> None:
    history = _history()
    history[[10, 11, 50]] = np.nan
    assert np.isfinite(_one(name, history).mean).all()


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (np.where(np.arange(96) % 2, np.nan, 1.0), "missing"),
        (np.full(96, np.nan), "no value"),
        (np.array([1.0]), "needs"),
    ],
)
def test_what_cannot_be_forecast_is_refused_with_the_reason(
    name: str, history: np.ndarray, reason: str
) -> None:
    (found,) = _forecaster(name).forecast([history], _HORIZON, _SEASON)
    assert isinstance(found, CannotForecast)
    assert reason in found.reason


@pytest.mark.parametrize("name", _NAMES)
def test_each_series_of_a_batch_has_its_own_answer_in_order(name: str) -> None:
    found = _forecaster(name).forecast(
        [_history(), np.array([np.nan]), _history() * 10], _HORIZON, _SEASON
    )
    first, refused, last = found
    assert isinstance(refused, CannotForecast)
    assert isinstance(first, Forecast)
    assert isinstance(last, Forecast)
    np.testing.assert_allclose(first.mean, _one(name, _history()).mean, rtol=1e-3)
    assert last.mean.mean() > 5 * first.mean.mean()
