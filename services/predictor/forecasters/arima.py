"""ARIMA(p,d,q) after removal of the season; for stable items such as disks and memory.

d = the fewest differences after which KPSS does not reject stationarity or ADF rejects a unit root;
p and q minimise BIC (or AIC, AICc). All orders are screened by regression, the best fitted by
their conditional likelihood, the best of these by the exact one: thousands of series a second. A
constant series forecasts itself, one with constant steps continues in them. ``order`` fixes (p,d,q)
and saves the search.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from services.predictor.forecasters.base import (
    CannotForecast,
    Floats,
    Forecast,
    Forecaster,
    around,
    curves_around,
    forecaster,
)

if TYPE_CHECKING:
    from services.predictor.kernels.batch import Fits

Order = tuple[int, int, int]

_ADF_LEVEL, _ADF_VALUE = 0.05, -2.8615927630969753
_KPSS_LEVELS, _KPSS_VALUES = (0.01, 0.025, 0.05, 0.10), (0.739, 0.574, 0.463, 0.347)


@forecaster
class Arima(Forecaster):
    """Own engine in machine code; `arima_statsmodels` is the reference it is checked against."""

    NAME: ClassVar[str] = "arima"

    criterion: Literal["bic", "aic", "aicc"] = Field("bic", description="Minimised by p and q.")
    max_p: int = Field(3, ge=0, le=5, description="Largest autoregressive order tried.")
    max_q: int = Field(3, ge=0, le=5, description="Largest moving-average order tried.")
    max_d: int = Field(2, ge=0, le=2, description="Most differences taken.")
    significance: float = Field(
        0.05, gt=0, lt=0.5, description="The significance level of the stationarity tests."
    )
    drift: Literal["auto", "always", "never"] = Field(
        "auto", description="The drift of one difference: by the criterion, always, or never."
    )
    seasonal: bool = Field(True, description="Take a season out first, where that pays.")
    season_worth: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Share of the squared error below which a season must bring it to count.",
    )
    screened: int = Field(3, ge=1, le=36, description="Orders fitted by conditional likelihood.")
    refined: int = Field(1, ge=1, le=36, description="Orders fitted by exact likelihood.")
    order: Order | None = Field(None, description="Fixed (p,d,q); None: searched.")

    def least_points(self, season: int) -> int:
        """So few that a series of 20 points can still be backtested; BIC then keeps orders low."""
        return 14

    def fits(self, values: Floats, horizon: int, season: int) -> Fits:
        """Everything that was estimated; ``values``: (series, points), finite."""
        from services.predictor.kernels.batch import Options, fit

        options = Options(
            max_p=self.max_p,
            max_q=self.max_q,
            max_d=self.max_d,
            criterion=self.criterion,
            kpss_limit=float(np.interp(self.significance, _KPSS_LEVELS, _KPSS_VALUES)),
            adf_limit=_adf_limit(self.significance),
            season=season if self.seasonal else 0,
            worth=self.season_worth,
            screened=self.screened,
            refined=self.refined,
            drift=self.drift,
            order=self.order,
        )
        return fit(values, horizon, options)

    def means(self, values: Floats, horizon: int, season: int) -> Floats:
        """The means alone."""
        return self.fits(values, horizon, season).mean

    def curves(self, values: Floats, horizon: int, season: int) -> Floats:
        """Means and bounds alone."""
        fits = self.fits(values, horizon, season)
        return curves_around(fits.mean, fits.deviation)

    def _forecast(
        self, values: Floats, horizon: int, season: int
    ) -> list[Forecast | CannotForecast]:
        fits = self.fits(values, horizon, season)
        p_values = _ljung_box(fits)
        return [
            around(fits.mean[row], fits.deviation[row], **self._why(fits, row, p_values[row]))
            if np.isfinite(fits.mean[row]).all()
            else CannotForecast(f"none of {fits.fitted[row]} orders fits without a near unit root")
            for row in range(len(values))
        ]

    def _why(self, fits: Fits, row: int, p_value: float) -> dict[str, str]:
        from services.predictor.kernels.season import RATES

        if not fits.fitted[row]:
            why = {"order": "constant steps" if fits.d[row] else "constant"}
        else:
            why = {
                "order": f"({fits.p[row]},{fits.d[row]},{fits.q[row]})",
                self.criterion: f"{fits.criterion[row]:.2f}",
                "ljung_box_p": f"{p_value:.3f}",
                "orders_fitted": str(fits.fitted[row]),
                "orders_failed": str(fits.failed[row]),
            }
        for name, rate in (("season", fits.day_rate[row]), ("week", fits.week_rate[row])):
            if rate >= 0:
                why[name] = f"rate {RATES[rate]:g}" if RATES[rate] else "fixed"
        if fits.day_rate[row] >= 0:
            why["season_steps"] = str(fits.period[row])
        return why


@lru_cache
def _adf_limit(significance: float) -> float:
    """Critical value, by bisection of MacKinnon's approximate p-values."""
    if significance == _ADF_LEVEL:
        # The usual one is known: importing statsmodels takes seconds.
        return _ADF_VALUE
    from statsmodels.tsa.adfvalues import mackinnonp

    low, high = -15.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        if mackinnonp(middle, regression="c", N=1) < significance:
            low = middle
        else:
            high = middle
    return low


def _ljung_box(fits: Fits) -> Floats:
    """p-values of the residuals' autocorrelations: small ones say that something is left."""
    from scipy.special import chdtrc

    free = np.maximum(fits.lags - fits.p - fits.q, 1)
    return np.asarray(chdtrc(free, fits.ljung_box))
