"""Drift: the line from the first to the last point continues.

``x(T+h) = x(T) + h*(x(T)-x(1))/(T-1)``; the error's deviation is ``s*sqrt(h*(1+h/(T-1)))`` with s
that of the steps around their mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from services.predictor.forecasters.base import Floats, Forecast, Forecaster, around, forecaster


@forecaster
class Drift(Forecaster):
    """For slow steady growth, and a baseline for other forecasters."""

    NAME: ClassVar[str] = "drift"

    def least_points(self, season: int) -> int:
        """Two steps, so that they can differ."""
        return 3

    def means(self, values: Floats, horizon: int, season: int) -> Floats:
        """The means alone."""
        slope = (values[:, -1:] - values[:, :1]) / (values.shape[1] - 1)
        result: Floats = values[:, -1:] + slope * np.arange(1, horizon + 1)
        return result

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        ahead = np.arange(1, horizon + 1)
        steps = np.diff(values, axis=1)
        n = steps.shape[1]
        growth = np.sqrt(ahead * (1 + ahead / n))
        return [
            replace(around(last + ahead * slope, deviation * growth), slopes={"slope": slope})
            for last, slope, deviation in zip(
                values[:, -1], steps.mean(axis=1), steps.std(axis=1, ddof=1), strict=True
            )
        ]
