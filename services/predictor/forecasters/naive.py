"""Naive: the mean of the recent past continues; for series without memory."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.predictor.forecasters.base import Floats, Forecast, Forecaster, around, forecaster


@forecaster
class Naive(Forecaster):
    """The mean of the last ``window`` steps, with their spread as interval."""

    NAME: ClassVar[str] = "naive"

    window: int = Field(168, ge=2, description="Steps averaged.")

    def least_points(self, season: int) -> int:
        """Two, so that there is a spread."""
        return 2

    def means(self, values: Floats, horizon: int, season: int) -> Floats:
        """The means alone."""
        return np.tile(values[:, -self.window :].mean(axis=1, keepdims=True), horizon)

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        recent = values[:, -self.window :]
        means = self.means(values, horizon, season)
        deviations = recent.std(axis=1) * np.sqrt(1 + 1 / recent.shape[1])
        return [
            around(mean, np.full(horizon, deviation))
            for mean, deviation in zip(means, deviations, strict=True)
        ]
