"""Theta: half the long-run slope on a smoothed level, after removal of the season.

The method that won M3; hard to beat on short, noisy series with some growth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from services.predictor.forecasters.base import (
    Floats,
    Forecast,
    Forecaster,
    around,
    constant,
    constant_or,
    curves_around,
    forecaster,
)


@forecaster
class Theta(Forecaster):
    """Theta lines 0 and 2 with equal weight."""

    NAME: ClassVar[str] = "theta"

    season_worth: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Share of the squared error below which a season must bring it to count.",
    )

    def least_points(self, season: int) -> int:
        """The fewest points in which a slope can be distinguished from noise."""
        return 10

    def means(self, values: Floats, horizon: int, season: int) -> Floats:
        """The means alone."""
        return self._fitted(values, horizon, season)[0]

    def curves(self, values: Floats, horizon: int, season: int) -> Floats:
        """Means and bounds alone."""
        mean, deviation, _ = self._fitted(values, horizon, season)
        still = constant(values)[:, None]
        return curves_around(np.where(still, values[:, -1:], mean), np.where(still, 0.0, deviation))

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        mean, spread, found = self._fitted(values, horizon, season)
        return [
            constant_or(y, replace(around(m, d, alpha=f"{x[0]:.3f}"), slopes={"drift": x[1]}))
            for y, m, d, x in zip(values, mean, spread, found, strict=True)
        ]

    def _fitted(self, values: Floats, horizon: int, season: int) -> tuple[Floats, Floats, Floats]:
        """Means and deviations (series, horizon); alpha and drift."""
        from services.predictor.kernels.season import take_seasons
        from services.predictor.kernels.smoothing import fit_theta

        shape = (len(values), horizon)
        rest, ahead, extra = values.copy(), np.zeros(shape), np.zeros(len(values))
        take_seasons(rest, season, self.season_worth, ahead, extra)
        mean, deviation, found = np.empty(shape), np.empty(shape), np.zeros((len(values), 2))
        fit_theta(rest, mean, deviation, found)
        return mean + ahead, np.sqrt(deviation**2 + extra[:, None]), found
