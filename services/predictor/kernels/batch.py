"""ARIMA for a table of series: the search's options and results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.predictor.kernels.arima import (
    COUNTS,
    CRITERION,
    DAY,
    DRIFT_AUTO,
    FAILED,
    FITTED,
    LAGS,
    LIKELIHOOD,
    LJUNG_BOX,
    NUMBERS,
    PERIOD,
    VARIANCE,
    WEEK,
    D,
    P,
    Q,
    fit_all,
)
from services.predictor.kernels.orders import AIC, AICC, BIC
from services.predictor.kernels.polynomial import SIZE

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

CRITERIA = {"aic": AIC, "aicc": AICC, "bic": BIC}
DRIFTS = {"never": 0, "always": 1, "auto": DRIFT_AUTO}


@dataclass(frozen=True)
class Options:
    """The options of the search for orders."""

    max_p: int
    max_q: int
    max_d: int
    criterion: str
    kpss_limit: float
    """Critical value; a larger statistic rejects stationarity."""
    adf_limit: float
    """Critical value; a smaller statistic rejects a unit root."""
    season: int
    """Steps; 0: no season is taken out."""
    worth: float
    """Share below which a season must bring the squared errors of forecasting a cycle."""
    screened: int
    """Orders whose conditional likelihood is fitted."""
    refined: int
    """Orders whose exact likelihood is."""
    drift: str = "auto"
    order: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Fits:
    """The fitted models, one row per series."""

    mean: Floats
    """(series, horizon); NaN where no order could be fitted."""
    deviation: Floats
    """(series, horizon): standard, of the forecast's error."""
    coefficients: Floats
    """(series, SIZE): mean or drift, phi, theta."""
    counts: Longs
    numbers: Floats

    @property
    def p(self) -> Longs:
        """Autoregressive orders."""
        return self.counts[:, P]

    @property
    def d(self) -> Longs:
        """Differences taken."""
        return self.counts[:, D]

    @property
    def q(self) -> Longs:
        """Moving-average orders."""
        return self.counts[:, Q]

    @property
    def fitted(self) -> Longs:
        """Orders whose conditional likelihood was fitted; 0 for a constant."""
        return self.counts[:, FITTED]

    @property
    def failed(self) -> Longs:
        """The ones that could not be used."""
        return self.counts[:, FAILED]

    @property
    def day_rate(self) -> Longs:
        """Index in ``season.RATES`` of the season; -1: there is none."""
        return self.counts[:, DAY]

    @property
    def week_rate(self) -> Longs:
        """The same for what remains, over seven seasons."""
        return self.counts[:, WEEK]

    @property
    def period(self) -> Longs:
        """Steps of the season that was looked for; 0: none."""
        return self.counts[:, PERIOD]

    @property
    def lags(self) -> Longs:
        """The lags that the Ljung-Box statistic takes in."""
        return self.counts[:, LAGS]

    @property
    def variance(self) -> Floats:
        """The variance of the innovations."""
        return self.numbers[:, VARIANCE]

    @property
    def log_likelihood(self) -> Floats:
        """Exact, of the differenced series less its season."""
        return self.numbers[:, LIKELIHOOD]

    @property
    def criterion(self) -> Floats:
        """The criterion that was minimised."""
        return self.numbers[:, CRITERION]

    @property
    def ljung_box(self) -> Floats:
        """Statistic of the residuals."""
        return self.numbers[:, LJUNG_BOX]


def fit(values: Floats, horizon: int, options: Options) -> Fits:
    """Fit and forecast (series, points), all finite, at least 14 points."""
    n = len(values)
    fixed = options.order or (-1, -1, -1)
    found = Fits(
        np.empty((n, horizon)),
        np.empty((n, horizon)),
        np.zeros((n, SIZE)),
        np.zeros((n, COUNTS), np.int64),
        np.zeros((n, NUMBERS)),
    )
    whole = np.array(
        [
            max(options.max_p, fixed[0]),
            max(options.max_q, fixed[2]),
            options.max_d,
            CRITERIA[options.criterion],
            DRIFTS[options.drift],
            options.screened,
            options.refined,
            options.season,
            *fixed,
        ],
        dtype=np.int64,
    )
    real = np.array([options.worth, options.kpss_limit, options.adf_limit])
    table = np.ascontiguousarray(values, dtype=np.float64)
    fit_all(
        table,
        whole,
        real,
        found.coefficients,
        found.counts,
        found.numbers,
        found.mean,
        found.deviation,
    )
    return found
