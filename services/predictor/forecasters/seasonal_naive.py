"""Seasonal naive: each step repeats the same moment of the last season (day)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.predictor.forecasters.base import (
    Floats,
    Forecast,
    Forecaster,
    around,
    curves_around,
    forecaster,
)


@forecaster
class SeasonalNaive(Forecaster):
    """Repeats the last season; the baseline for every model.

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

    def curves(self, values: Floats, horizon: int, season: int) -> Floats:
        """Means and bounds alone."""
        return curves_around(
            self.means(values, horizon, season), self._deviations(values, horizon, season)
        )

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        means = self.means(values, horizon, season)
        deviations = self._deviations(values, horizon, season)
        return [around(mean, one) for mean, one in zip(means, deviations, strict=True)]

    @staticmethod
    def _deviations(values: Floats, horizon: int, season: int) -> Floats:
        errors = values[:, season:] - values[:, :-season]
        growth = np.sqrt(np.arange(horizon) // season + 1)
        return np.asarray(np.sqrt((errors**2).mean(axis=1))[:, None] * growth)
