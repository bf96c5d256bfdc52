"""All forecasters, one file each; they are imported when the registry is first read."""

from services.predictor.forecasters.base import (
    REGISTRY,
    CannotForecast,
    Forecast,
    Forecaster,
    forecaster,
    make,
    registered,
)

__all__ = [
    "REGISTRY",
    "CannotForecast",
    "Forecast",
    "Forecaster",
    "forecaster",
    "make",
    "registered",
]
