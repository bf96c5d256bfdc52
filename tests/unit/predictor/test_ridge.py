"""Autoregression on seasonal lags, and the period of a series that nobody named."""

from __future__ import annotations

import numpy as np
import pytest

from services.predictor.forecasters import Forecast, make
from services.predictor.kernels.period import period_of, season_of
from services.predictor.kernels.ridge import _lags, _moments

_STEPS = np.arange(672 + 48)


def _noise(seed: int, n: int = len(_STEPS)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def _one(name: str, values: np.ndarray, season: int = 24) -> Forecast:
    (found,) = make(name).forecast([values], 48, season)
    assert isinstance(found, Forecast)
    return found


def test_a_week_whose_days_differ_is_forecast_far_better_than_by_yesterday() -> None:
    working = _STEPS // 24 % 7 < 5
    series = 50 + 10 * working * np.sin(2 * np.pi * _STEPS / 24) + _noise(1)
    past, future = series[:-48], series[-48:]
    errors = {n: np.abs(_one(n, past).mean - future).mean() for n in ("ridge", "seasonal_naive")}
    assert errors["ridge"] < 0.4 * errors["seasonal_naive"]


def test_of_noise_it_says_the_mean_and_that_no_lag_tells_much() -> None:
    found = _one("ridge", 50 + _noise(2, 672))
    assert np.abs(found.mean - 50).max() < 1
    assert 1.5 < (found.upper - found.mean).mean() < 2.5


def test_its_intervals_grow_as_a_random_walks_do() -> None:
    found = _one("ridge", _noise(3, 672).cumsum())
    width = found.upper - found.lower
    assert (np.diff(width) >= -1e-9).all()
    assert width[35] > 2 * width[0]


@pytest.mark.parametrize("period", [9, 30, 52, 100])
def test_a_period_that_nobody_named_is_found_under_noise_and_a_trend(period: int) -> None:
    phase = 2 * np.pi * _STEPS / period
    series = 5 * (np.sin(phase) > 0.5) + 0.02 * _STEPS + _noise(4)
    assert abs(period_of(series) - period) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_random_walks_have_no_period(seed: int) -> None:
    for n in (40, 100, 672):
        assert period_of(_noise(seed, n)) == 0
        assert period_of(_noise(seed, n).cumsum()) == 0
        assert period_of(np.arange(float(n))) == 0


def test_the_season_given_goes_before_one_that_is_found() -> None:
    series = 5 * np.sin(2 * np.pi * _STEPS / 30)
    assert season_of(series, 24) == 24
    assert season_of(series, 1) == 30
    assert season_of(series, 288) == 30
    assert season_of(series, 0) == 0


@pytest.mark.parametrize("name", ["arima", "theta", "ridge"])
def test_a_yearly_rhythm_of_weeks_is_forecast_without_being_told(name: str) -> None:
    series = 50 + 10 * np.sin(2 * np.pi * _STEPS[:364] / 52) + _noise(5, 364)
    past, future = series[:-48], series[-48:]
    assert np.abs(_one(name, past, 1).mean - future).mean() < 2


@pytest.mark.parametrize(("points", "season"), [(672, 24), (60, 24), (200, 7), (100, 0)])
def test_products_of_lags_are_those_of_the_columns(points: int, season: int) -> None:
    """They are carried from one pair of lags to the next pair as far apart."""
    z = np.random.default_rng(points).normal(size=points).cumsum()
    lags = _lags(points, season)
    means, gram, cross, centre, power = _moments(z, lags)
    columns = np.array([z[lags[-1] - lag : points - lag] for lag in lags])
    target = z[lags[-1] :]
    away = columns - columns.mean(axis=1)[:, None]
    assert means == pytest.approx(columns.mean(axis=1))
    assert gram == pytest.approx(away @ away.T, rel=1e-9, abs=1e-9 * np.abs(gram).max())
    assert cross == pytest.approx(away @ target, rel=1e-9, abs=1e-9 * np.abs(cross).max())
    assert (centre, power) == pytest.approx((target.mean(), np.var(target) * len(target)))
