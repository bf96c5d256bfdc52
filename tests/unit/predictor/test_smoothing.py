"""Exponential smoothing and Theta beside statsmodels and known series."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from services.predictor.forecasters import Forecast, make
from services.predictor.settings import EngineSettings
from shared.items import Behaviour


def _one(name: str, values: np.ndarray, horizon: int = 12, season: int = 24, **fields) -> Forecast:
    (found,) = make(name, fields).forecast([values], horizon, season)
    assert isinstance(found, Forecast)
    return found


def test_holt_forecasts_as_statsmodels_does() -> None:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    rng = np.random.default_rng(3)
    values = 50 + np.cumsum(0.4 + 0.2 * rng.normal(size=200)) + rng.normal(size=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = ExponentialSmoothing(values, trend="add").fit().forecast(12)
    assert np.abs(_one("holt", values).mean - expected).max() < 1.0


def test_theta_rises_by_half_the_long_run_slope() -> None:
    values = 0.5 * np.arange(100) + np.random.default_rng(1).normal(size=100)
    slopes = np.diff(_one("theta", values).mean)
    np.testing.assert_allclose(slopes, 0.25, atol=0.02)


def test_ets_takes_a_season_where_there_is_one_and_a_trend_where_there_is_one() -> None:
    steps, noise = np.arange(240), np.random.default_rng(1).normal(size=240)
    seasonal = _one("ets", 10 * np.sin(2 * np.pi * steps / 24) + noise)
    assert seasonal.why["model"].endswith(",A)")
    trended = _one("ets", 0.5 * steps + np.cumsum(0.2 * noise) + noise[::-1])
    assert "A,N)" in trended.why["model"] or "Ad,N)" in trended.why["model"]
    assert _one("ets", noise).why["model"] == "ETS(A,N,N)"


def test_the_smoothers_intervals_hold_about_what_they_promise() -> None:
    rng = np.random.default_rng(5)
    rows = np.cumsum(rng.normal(size=(80, 212)), axis=1)
    for name in ("ets", "theta"):
        inside = [
            np.abs(r[200:] - f.mean) <= f.upper - f.mean
            for r in rows
            for f in [_one(name, r[:200])]
        ]
        assert 0.85 < np.mean(inside) <= 1


def test_one_model_may_be_named_instead_of_several() -> None:
    settings = EngineSettings(
        models={Behaviour.STABLE: "holt", Behaviour.VOLATILE: ("ets", "arima")}
    )
    assert settings.models[Behaviour.STABLE] == ("holt",)
    with pytest.raises(ValueError, match="no forecaster 'nonsense'"):
        EngineSettings(models={Behaviour.STABLE: "nonsense", Behaviour.VOLATILE: "ets"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"models": {"stable": ["combination"], "volatile": ["arima"]}}, "combined by weight"),
        ({"forecasters": {"combination": {}}}, "combined by weight"),
    ],
)
def test_a_forecaster_that_is_gone_is_refused_with_what_there_is_instead(
    settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        EngineSettings.model_validate(settings)
