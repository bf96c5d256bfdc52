"""ARIMA(p,d,q) through statsmodels: the reference that `arima` is checked against.

d = the fewest differences after which ADF rejects a unit root or KPSS does not reject
stationarity; p and q minimise BIC (or AIC) over a grid; estimated by statsmodels' exact
likelihood. One difference keeps a drift, so that steady growth is forecast as growth. A constant
series forecasts itself, one with constant steps continues in them. ``order`` fixes (p,d,q) and
saves the search.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from services.predictor.forecasters.base import Floats, Forecast, Forecaster, around, forecaster

Order = tuple[int, int, int]

_TREND = {0: "c", 1: "t", 2: "n"}
_MODULES = (
    "statsmodels.tsa.arima.model",
    "statsmodels.tsa.stattools",
    "statsmodels.stats.diagnostic",
)
_FLAT = 1e-9
_MIN_FOR_TESTS = 12


@forecaster
class ArimaStatsmodels(Forecaster):
    """One series at a time, about a second each; no season is taken out."""

    NAME: ClassVar[str] = "arima_statsmodels"

    criterion: Literal["bic", "aic"] = Field(
        "bic", description="The criterion that p and q minimise."
    )
    max_p: int = Field(3, ge=0, le=5, description="Largest autoregressive order tried.")
    max_q: int = Field(3, ge=0, le=5, description="Largest moving-average order tried.")
    max_d: int = Field(2, ge=0, le=2, description="Most differences taken.")
    significance: float = Field(
        0.05, gt=0, lt=0.5, description="The significance level of the stationarity tests."
    )
    max_iterations: int = Field(50, ge=5, le=1000, description="Steps of one maximisation.")
    order: Order | None = Field(None, description="Fixed (p,d,q); None: searched.")

    def least_points(self, season: int) -> int:
        """So few that a series of 20 points can still be backtested; BIC then keeps orders low."""
        return 14

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        return [self._one(row, horizon) for row in values]

    def _one(self, values: Floats, horizon: int) -> Forecast:
        scale = max(1.0, float(np.abs(values).max()))
        if np.ptp(values) <= _FLAT * scale:
            zeros = np.zeros(horizon)
            return around(zeros + values[-1], zeros, order="constant", d="0")
        steps = np.diff(values)
        if np.ptp(steps) <= _FLAT * scale:
            ahead = np.arange(1, horizon + 1)
            mean = values[-1] + ahead * steps.mean()
            return around(mean, np.zeros(horizon), order="constant steps", d="1")
        # Loaded before the filter is set: their import puts filters of their own in front.
        for module in _MODULES:
            import_module(module)
        with warnings.catch_warnings():
            # statsmodels warns of p-values beyond its tables, of poor starting values and of
            # optimisations cut short; the orders compete on what they reached all the same.
            warnings.simplefilter("ignore")
            return self._fitted(values, horizon)

    def _fitted(self, values: Floats, horizon: int) -> Forecast:
        if self.order is not None:
            orders = [self.order]
        else:
            d = self.differences(values)
            orders = [(p, d, q) for p, q in product(range(self.max_p + 1), range(self.max_q + 1))]
        fits = [(order, self._fit(values, order)) for order in orders]
        usable = [(order, fit) for order, fit in fits if fit is not None]
        failed = str(len(fits) - len(usable))
        if not usable:
            return self._drift_only(values, horizon, failed)
        (p, d, q), best = min(usable, key=lambda one: float(getattr(one[1], self.criterion)))
        ahead = best.get_forecast(horizon)
        interval = np.asarray(ahead.conf_int(alpha=0.05))
        return Forecast(
            np.asarray(ahead.predicted_mean),
            interval[:, 0],
            interval[:, 1],
            {
                "order": f"({p},{d},{q})",
                self.criterion: f"{getattr(best, self.criterion):.2f}",
                "ljung_box_p": f"{_ljung_box(best, d, p + q):.3f}",
                "orders_tried": str(len(fits)),
                "orders_failed": failed,
            },
        )

    @staticmethod
    def _drift_only(values: Floats, horizon: int, failed: str) -> Forecast:
        steps = np.diff(values)
        ahead = np.arange(1, horizon + 1)
        return around(
            values[-1] + ahead * steps.mean(),
            steps.std() * np.sqrt(ahead),
            order="(0,1,0)",
            orders_failed=failed,
        )

    def _fit(self, values: Floats, order: Order) -> Any:
        """The fit, or None where this order cannot be estimated on these values."""
        from statsmodels.tsa.arima.model import ARIMA

        try:
            fit = ARIMA(values, order=order, trend=_TREND[order[1]]).fit(
                method_kwargs={"maxiter": self.max_iterations, "disp": 0}, cov_type="none"
            )
            ahead = fit.get_forecast(1)
        except (ValueError, IndexError, np.linalg.LinAlgError):
            return None
        sound = np.isfinite([fit.llf, fit.bic, ahead.predicted_mean[0], ahead.se_mean[0]]).all()
        return fit if sound else None

    def differences(self, values: Floats) -> int:
        """D by ADF and KPSS; a short or constant rest counts as stationary."""
        for d in range(self.max_d):
            rest = np.diff(values, d)
            if len(rest) < _MIN_FOR_TESTS or np.ptp(rest) <= _FLAT or self._stationary(rest):
                return d
        return self.max_d

    def _stationary(self, values: Floats) -> bool:
        from statsmodels.tsa.stattools import adfuller, kpss

        try:
            level = float(kpss(values, regression="c", nlags="auto")[1])
            unit_root = float(adfuller(values, autolag="AIC")[1])
        except (ValueError, np.linalg.LinAlgError):
            # Collinear lags: nothing speaks against stationarity.
            return True
        return level >= self.significance and unit_root < self.significance


def _ljung_box(fit: Any, d: int, parameters: int) -> float:
    from statsmodels.stats.diagnostic import acorr_ljungbox

    residuals = np.asarray(fit.resid)[max(d, 1) :]
    lags = max(parameters + 1, min(10, len(residuals) // 5))
    table = acorr_ljungbox(residuals, lags=[lags], model_df=parameters)
    return float(table["lb_pvalue"].iloc[0])
