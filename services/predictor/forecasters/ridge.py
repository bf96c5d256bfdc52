"""Ridge: autoregression on recent and seasonal lags with regularised coefficients.

``x(t) = c + sum of a(k) * x(t-k)`` over the lags of a day, the same hour of the days before and of
last week; the penalty on the coefficients by generalised cross-validation. It errs in other ways
than models that take a season out first, which makes it worth most beside them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from services.predictor.forecasters.base import (
    CannotForecast,
    Floats,
    Forecast,
    Forecaster,
    around,
    constant,
    curves_around,
    forecaster,
)


@forecaster
class Ridge(Forecaster):
    """For rhythms whose days differ; learns a coefficient for each lag."""

    NAME: ClassVar[str] = "ridge"

    def least_points(self, season: int) -> int:
        """The fewest points in which a few lags can be distinguished from noise."""
        return 24

    def means(self, values: Floats, horizon: int, season: int) -> Floats:
        """The means alone."""
        return self._fitted(values, horizon, season)[0]

    def curves(self, values: Floats, horizon: int, season: int) -> Floats:
        """Means and bounds alone."""
        mean, deviation, _ = self._fitted(values, horizon, season)
        return curves_around(mean, deviation)

    def _forecast(
        self, values: Floats, horizon: int, season: int
    ) -> list[Forecast | CannotForecast]:
        from services.predictor.kernels.ridge import PENALTIES

        mean, deviation, found = self._fitted(values, horizon, season)
        return [
            around(m, d, season=f"{x[0]} steps", lags=str(x[1]), penalty=f"{PENALTIES[x[2]]:g}")
            if np.isfinite(m).all()
            else CannotForecast("its forecast grows without bound")
            for m, d, x in zip(mean, deviation, found, strict=True)
        ]

    def _fitted(
        self, values: Floats, horizon: int, season: int
    ) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Means and deviations (series, horizon); season, lags, penalty."""
        from services.predictor.kernels.ridge import fit_ridge

        out, found = np.empty((len(values), 2, horizon)), np.zeros((len(values), 3), np.int64)
        fit_ridge(np.ascontiguousarray(values, dtype=np.float64), season, out, found)
        still = constant(values)
        out[still, 0], out[still, 1] = values[still, -1:], 0.0
        return out[:, 0], out[:, 1], found
