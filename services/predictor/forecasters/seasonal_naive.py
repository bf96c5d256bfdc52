"""Seasonal naive: each step repeats the same moment of the last season (day)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.predictor.forecasters.base import Floats, Forecast, Forecaster, around, forecaster


@forecaster
class SeasonalNaive(Forecaster):
    """Tomorrow is as today: what every model must beat.

    The error's deviation is that of the past seasonal differences, times the square root of the
    seasons ahead.
    """

    NAME: ClassVar[str] = "seasonal_naive"

    def least_points(self, season: int) -> int:
        """A season, and some points more to know its error."""
        return season + max(2, season // 4)

    def means(self, values: Floats, horizon: int, season: int) -> Floats:
        """The means alone."""
        return values[:, values.shape[1] - season + np.arange(horizon) % season]

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        ahead = np.arange(horizon)
        means = self.means(values, horizon, season)
        errors = values[:, season:] - values[:, :-season]
        deviations = np.sqrt((errors**2).mean(axis=1))
        growth = np.sqrt(ahead // season + 1)
        return [
            around(mean, deviation * growth)
            for mean, deviation in zip(means, deviations, strict=True)
        ]
