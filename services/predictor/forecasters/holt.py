"""Holt: a level and a trend, both followed exponentially; the trend may fade."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from services.predictor.forecasters.base import (
    Floats,
    Forecast,
    Forecaster,
    around,
    constant_or,
    forecaster,
)


@forecaster
class Holt(Forecaster):
    """For growth whose pace changes; parameters by least squares of one-step errors."""

    NAME: ClassVar[str] = "holt"

    damped: bool = Field(False, description="True: the trend fades with distance.")

    def least_points(self, season: int) -> int:
        """The fewest points in which a trend can be distinguished from noise."""
        return 10

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        from services.predictor.kernels import smoothing

        kinds = np.array([smoothing.DAMPED if self.damped else smoothing.TREND])
        mean, deviation = np.empty((len(values), horizon)), np.empty((len(values), horizon))
        found = np.zeros((len(values), smoothing.PARAMETERS + 2))
        smoothing.fit_smoothing(values, kinds, np.zeros(1, np.int64), mean, deviation, found)
        return [
            constant_or(y, around(m, d, alpha=f"{x[0]:.3f}", beta=f"{x[1]:.3f}"))
            for y, m, d, x in zip(values, mean, deviation, found, strict=True)
        ]
