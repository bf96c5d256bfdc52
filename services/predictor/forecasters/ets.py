"""ETS: exponential smoothing with trend and season chosen by AICc, additive throughout."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from services.predictor.forecasters.base import (
    Floats,
    Forecast,
    Forecaster,
    around,
    constant_or,
    forecaster,
)

_TRENDS = ("N", "A", "Ad")


@forecaster
class Ets(Forecaster):
    """ETS(A,N,N), (A,A,N), (A,Ad,N), and the same with a season from three seasons on."""

    NAME: ClassVar[str] = "ets"

    def least_points(self, season: int) -> int:
        """The fewest points in which a trend can be distinguished from noise."""
        return 10

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        from services.predictor.kernels import smoothing

        kinds = np.array([smoothing.NO_TREND, smoothing.TREND, smoothing.DAMPED] * 2)
        seasons = np.array([0, 0, 0, season, season, season])
        mean, deviation = np.empty((len(values), horizon)), np.empty((len(values), horizon))
        found = np.zeros((len(values), smoothing.PARAMETERS + 2))
        smoothing.fit_smoothing(values, kinds, seasons, mean, deviation, found)
        return [
            constant_or(y, around(m, d, **_why(x)))
            for y, m, d, x in zip(values, mean, deviation, found, strict=True)
        ]


def _why(found: Floats) -> dict[str, str]:
    pair = int(found[-2])
    season = "A" if pair >= len(_TRENDS) else "N"
    return {
        "model": f"ETS(A,{_TRENDS[pair % len(_TRENDS)]},{season})",
        "aicc": f"{found[-1]:.2f}",
        "alpha": f"{found[0]:.3f}",
    }
