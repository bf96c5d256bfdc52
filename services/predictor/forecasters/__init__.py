"""All forecasters; importing this package registers them."""

from services.predictor.forecasters import (
    arima,
    arima_statsmodels,
    combination,
    drift,
    ets,
    holt,
    naive,
    neural_24_49_1,
    neural_global,
    seasonal_naive,
    theta,
)
from services.predictor.forecasters.base import (
    CannotForecast,
    Forecast,
    Forecaster,
    forecaster,
    make,
    registered,
)

__all__ = [
    "CannotForecast",
    "Forecast",
    "Forecaster",
    "arima",
    "arima_statsmodels",
    "combination",
    "drift",
    "ets",
    "forecaster",
    "holt",
    "make",
    "naive",
    "neural_24_49_1",
    "neural_global",
    "registered",
    "seasonal_naive",
    "theta",
]
