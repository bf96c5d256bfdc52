"""The ARIMA kernels beside statsmodels, and against what is known of simulated series."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.predictor.backtest import backtest
from services.predictor.forecasters import CannotForecast, Forecast, make
from services.predictor.forecasters.arima import _ADF_LEVEL, Arima, _adf_limit
from services.predictor.kernels.conditional import _errors, _jacobian, errors_from
from services.predictor.kernels.polynomial import SIZE, from_free, shrink, stable, to_free
from services.predictor.kernels.season import RATES, _persistence, take_season
from shared.stationarity import adf, differences, kpss


def _simulated(
    phi: list[float], theta: list[float], points: int = 336, seed: int = 3
) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=points + 200)
    x = np.zeros_like(noise)
    for t in range(len(x)):
        x[t] = noise[t]
        x[t] += sum(c * x[t - 1 - i] for i, c in enumerate(phi) if t > i)
        x[t] += sum(c * noise[t - 1 - i] for i, c in enumerate(theta) if t > i)
    return x[200:]


def _reference(values: np.ndarray, order: tuple[int, int, int], trend: str):
    from statsmodels.tsa.arima.model import ARIMA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ARIMA(values, order=order, trend=trend).fit(
            method_kwargs={"maxiter": 500, "disp": 0}, cov_type="none"
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("integrated", [False, True])
def test_the_stationarity_statistics_are_those_of_statsmodels(seed: int, integrated: bool) -> None:
    from statsmodels.tsa.stattools import adfuller
    from statsmodels.tsa.stattools import kpss as reference

    values = np.random.default_rng(seed).normal(size=40 + 90 * seed)
    values = values.cumsum() if integrated else values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = reference(values, regression="c", nlags="auto")[0]
        root = adfuller(values, autolag="AIC")[0]
    assert kpss(values) == pytest.approx(level, rel=1e-9)
    assert adf(values) == pytest.approx(root, rel=1e-9)


def test_the_critical_value_is_where_mackinnons_p_value_is_the_significance() -> None:
    from statsmodels.tsa.adfvalues import mackinnonp

    assert mackinnonp(_adf_limit(0.05), regression="c", N=1) == pytest.approx(0.05, abs=1e-6)


def test_as_many_differences_are_taken_as_a_series_was_integrated() -> None:
    noise = _simulated([0.4], [])
    limits = (2, 0.463, _adf_limit(0.05))
    assert differences(noise, *limits) == 0
    assert differences(noise.cumsum(), *limits) == 1
    assert differences(noise.cumsum().cumsum(), *limits) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phi", "theta"),
    [([0.6], [0.3]), ([1.2, -0.5], [0.4]), ([], [0.7, 0.2]), ([0.9], []), ([0.5, 0.2], [0.3, 0.4])],
)
def test_coefficients_likelihood_and_forecast_are_those_of_statsmodels(
    phi: list[float], theta: list[float]
) -> None:
    values = 5 + 3 * _simulated(phi, theta)
    p, q = len(phi), len(theta)
    expected = _reference(values, (p, 0, q), "c")
    found = Arima(order=(p, 0, q), seasonal=False).fits(values[None], 24, 24)
    np.testing.assert_allclose(
        found.coefficients[0, 1 : 1 + p + q], expected.params[1:-1], atol=1e-3
    )
    # The likelihood is flat in the mean: its standard error is 40 times what is allowed here.
    assert found.coefficients[0, 0] == pytest.approx(expected.params[0], abs=0.02)
    assert found.log_likelihood[0] == pytest.approx(expected.llf, abs=1e-3)
    assert found.log_likelihood[0] >= expected.llf - 1e-4
    assert found.variance[0] == pytest.approx(expected.params[-1], rel=1e-3)
    ahead = expected.get_forecast(24)
    np.testing.assert_allclose(found.mean[0], ahead.predicted_mean, atol=0.02)
    np.testing.assert_allclose(found.deviation[0], ahead.se_mean, rtol=2e-3)


@pytest.mark.slow
def test_a_drift_and_its_forecast_are_those_of_statsmodels() -> None:
    values = np.cumsum(0.5 + _simulated([0.5], [0.2]))
    expected = _reference(values, (1, 1, 1), "t")
    found = Arima(order=(1, 1, 1), drift="always", seasonal=False).fits(values[None], 24, 24)
    np.testing.assert_allclose(found.coefficients[0, :3], expected.params[:-1], rtol=5e-3)
    np.testing.assert_allclose(
        found.mean[0] - values[-1], expected.forecast(24) - values[-1], rtol=5e-3, atol=0.02
    )
    np.testing.assert_allclose(found.deviation[0], expected.get_forecast(24).se_mean, rtol=5e-3)


def test_bic_and_ljung_box_are_those_of_statsmodels() -> None:
    from statsmodels.stats.diagnostic import acorr_ljungbox

    values = _simulated([0.7], [])
    expected = _reference(values, (1, 0, 0), "c")
    found = Arima(order=(1, 0, 0), seasonal=False).fits(values[None], 3, 24)
    assert found.criterion[0] == pytest.approx(expected.bic, abs=0.01)
    lags = int(found.lags[0])
    table = acorr_ljungbox(expected.resid, lags=[lags], model_df=1)
    assert found.ljung_box[0] == pytest.approx(table["lb_stat"].iloc[0], rel=0.05)


def test_the_search_finds_an_order_that_is_as_good_as_the_best_of_the_grid() -> None:
    values = np.array([_simulated([1.2, -0.5], [], seed=s) for s in range(6)])
    quick = Arima(seasonal=False).fits(values, 3, 24)
    whole = Arima(seasonal=False, screened=16, refined=16).fits(values, 3, 24)
    assert (quick.d == 0).all()
    assert (quick.criterion - whole.criterion < 2).all()
    assert ((quick.p == 2) & (quick.q == 0)).sum() >= 4


@pytest.mark.parametrize(
    ("p", "q", "mean"), [(0, 1, 1), (2, 0, 1), (3, 3, 1), (1, 2, 0), (4, 5, 1)]
)
def test_the_gradients_of_the_conditional_errors_are_exact(p: int, q: int, mean: int) -> None:
    w = _simulated([0.5], [0.3], 60)
    x = np.r_[
        [0.2] * mean, [0.3, -0.2, 0.1, 0.05][:p], [0.4, 0.1, -0.2, 0.1, 0.05][:q], np.zeros(6)
    ]
    e, moved, jacobian = np.empty(60), np.empty(60), np.zeros((SIZE, 60))
    _errors(w, x, p, q, mean, e)
    _jacobian(w, x, p, q, mean, e, jacobian)
    for i in range(mean + p + q):
        step = x.copy()
        step[i] += 1e-6
        _errors(w, step, p, q, mean, moved)
        np.testing.assert_allclose(jacobian[i], (moved - e) / 1e-6, atol=1e-4)


@pytest.mark.parametrize("start", [0, 2, 3, 40])
@pytest.mark.parametrize("q", range(6))
@pytest.mark.parametrize("p", range(6))
def test_errors_are_those_of_the_definition_in_every_pass(p: int, q: int, start: int) -> None:
    """Orders up to three past the third point have a pass of their own."""
    rng = np.random.default_rng(p + 6 * q)
    w, phi, theta = rng.normal(size=60), rng.normal(size=5) / 5, rng.normal(size=5) / 5
    found, right = np.zeros(60), np.zeros(60)
    found[:start] = right[:start] = rng.normal(size=start)
    errors_from(w, 0.3, phi, p, theta, q, start, found)
    for t in range(start, 60):
        right[t] = w[t] - 0.3
        right[t] -= sum(phi[i] * (w[t - 1 - i] - 0.3) for i in range(p) if t > i)
        right[t] -= sum(theta[j] * right[t - 1 - j] for j in range(q) if t > j)
    assert found == pytest.approx(right, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_free_coordinates_cannot_leave_the_stationary_region(free: list[float]) -> None:
    there, back, k = np.zeros(5), np.zeros(5), len(free)
    from_free(np.array(free), k, 1.0, there)
    assert stable(there, k, 1.0, 1.0)
    inverse_roots = np.roots(np.r_[1.0, -there[:k]])
    assert (np.abs(inverse_roots) < 1.001).all()
    to_free(there, k, 1.0, back)
    np.testing.assert_allclose(back[:k], free, atol=1e-5)


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_coefficients_can_be_shrunk_into_the_region(coefficients: list[float]) -> None:
    x, k = np.array(coefficients), len(coefficients)
    shrink(x, k, -1.0, 1.02)
    assert stable(x, k, -1.0, 1.02)


def test_a_daily_rhythm_is_taken_out_and_comes_back_in_the_forecast() -> None:
    steps = np.arange(336 + 24)
    rhythm = 10 * np.sin(2 * np.pi * steps / 24)
    values = 50 + rhythm + _simulated([0.5], [], 360)
    (found,) = make("arima").forecast([values[:336]], 24, 24)
    assert isinstance(found, Forecast)
    assert "season" in found.why
    assert np.abs(found.mean - (50 + rhythm[336:])).max() < 3


def test_noise_has_no_season() -> None:
    y = np.random.default_rng(1).normal(size=336)
    before, ahead = y.copy(), np.zeros(24)
    assert take_season(y, 24, 0.95, ahead) == (-1, 0.0)
    np.testing.assert_array_equal(y, before)
    assert not ahead.any()


def test_a_season_that_changes_is_followed_quickly() -> None:
    rng = np.random.default_rng(2)
    season = rng.normal(size=24).cumsum()
    cycles = []
    for _ in range(14):
        season = season + rng.normal(size=24)
        cycles.append(season - season.mean())
    rate, variance = take_season(np.concatenate(cycles), 24, 0.95, np.zeros(24))
    assert RATES[rate] >= 0.5
    assert variance > 0


@pytest.mark.parametrize("points", [240, 251, 336])
def test_the_last_half_seasons_growth_is_no_season(points: int) -> None:
    steps = np.arange(points)
    y, ahead = 5 * np.sin(2 * np.pi * steps / 24) + 0.5 * steps, np.zeros(24)
    assert take_season(y, 24, 0.95, ahead)[0] >= 0
    np.testing.assert_allclose(y, 0.5 * steps, atol=1e-6)
    expected = 5 * np.sin(2 * np.pi * np.arange(points, points + 24) / 24)
    np.testing.assert_allclose(ahead, expected, atol=1e-6)


def test_a_level_is_continued_in_a_trend_and_held_in_noise() -> None:
    assert _persistence(np.arange(100.0), 12) == 1.0
    smoothed = np.convolve(np.random.default_rng(4).normal(size=300), np.ones(24) / 24, "valid")
    assert _persistence(smoothed, 12) == 0.0


def _slow_sine(period: int, noise: float, seed: int) -> np.ndarray:
    """The tests hold it to be stationary, and every order that fits it is almost a unit root."""
    errors = np.random.default_rng(seed).normal(size=300)
    return 50 + 20 * np.sin(2 * np.pi * np.arange(300) / period) + noise * errors


@pytest.mark.parametrize("seed", [0, 1])
def test_what_comes_near_a_unit_root_is_differenced_once_more(seed: int) -> None:
    values = _slow_sine(90, 0.05, seed)
    past, future = values[:276], values[276:]
    limits = (2, 0.463, -2.8616)
    assert differences(past, *limits) == 0
    found = Arima(seasonal=False).fits(past[None], 24, 1)
    assert found.d[0] >= 1
    by_mean = np.abs(past.mean() - future).mean()
    assert np.abs(found.mean[0] - future).mean() < 0.5 * by_mean


def test_a_series_that_no_order_fits_is_refused_and_left_to_others() -> None:
    history = _slow_sine(40, 0.01, 2)[:276]
    arima = make("arima", {"seasonal": False})
    (found,) = arima.forecast([history], 24, 1)
    assert isinstance(found, CannotForecast)
    assert "near unit root" in found.reason
    tested = backtest([arima, make("theta")], np.tile(history, (2, 1)), 24, 1, 4)
    refused = ~np.isfinite(tested.errors[0])
    assert np.isfinite(tested.errors[1]).all()
    for row, at in np.argwhere(refused):
        cut = len(history) - 24 * (at + 1)
        assert isinstance(arima.forecast([history[:cut]], 24, 1)[0], CannotForecast), row


def test_the_intervals_hold_about_what_they_promise() -> None:
    rows = np.array([_simulated([0.7], [0.3], 360, seed=s) for s in range(60)])
    found = Arima().fits(rows[:, :336], 24, 24)
    inside = np.abs(rows[:, 336:] - found.mean) <= 1.96 * found.deviation
    assert 0.88 < inside.mean() < 0.99


def test_the_usual_critical_value_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.adfvalues import mackinnonp

    assert mackinnonp(_adf_limit(_ADF_LEVEL), regression="c", N=1) == pytest.approx(_ADF_LEVEL)
