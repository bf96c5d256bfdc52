"""Tests of stationarity: KPSS (level) and augmented Dickey-Fuller (constant).

Lags as the tests' authors and statsmodels choose them: Hobijn, Franses and Ooms (1998) for KPSS;
for ADF the lag of least AIC up to Schwert's 12*(n/100)^(1/4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import dot, kernel

Floats = NDArray[np.float64]

SHORTEST = 12
"""With fewer points, a series is not tested and counts as stationary."""
_SINGULAR = 1e-10
_FIRST_LAG = 2
"""The column of the first lagged difference; before it the constant and the last value."""


@kernel
def kpss(y: Floats) -> float:
    """Statistic of stationarity around a level; large speaks against it. 0 for a constant."""
    n = y.shape[0]
    r = y - y.mean()
    zero = dot(r, r) / n
    if zero <= 0.0:
        return 0.0
    spread, slope = zero, 0.0
    for lag in range(1, int(n ** (2.0 / 9.0)) + 1):
        product = dot(r[lag:], r[: n - lag]) / (n / 2.0)
        spread += product
        slope += lag * product
    ratio = slope / spread if spread != 0.0 else 0.0
    lags = min(int(1.1447 * (ratio * ratio) ** (1.0 / 3.0) * n ** (1.0 / 3.0)), n - 1)
    variance = zero
    for lag in range(1, lags + 1):
        variance += 2.0 * dot(r[lag:], r[: n - lag]) * (1.0 - lag / (lags + 1.0)) / n
    if variance <= 0.0:
        return 0.0
    cumulated, total = 0.0, 0.0
    for t in range(n):
        cumulated += r[t]
        total += cumulated * cumulated
    return float(total / (n * n) / variance)


@kernel
def adf(y: Floats, longest: int = -1) -> float:
    """The t value of a unit root; very negative speaks against it. NaN for collinear lags.

    ``longest``: the most lags tried; negative: Schwert's.
    """
    n = y.shape[0]
    lags_tried = longest if longest >= 0 else int(np.ceil(12.0 * (n / 100.0) ** 0.25))
    most = min(n // 2 - 2, lags_tried)
    if most < 0:
        return np.nan
    centered = y - y.mean()
    rss = np.zeros(most + 2)
    design, target = _lagged(centered, most)
    t_value = _nested(design, target, rss)
    if np.isnan(t_value):
        return np.nan
    best, lags, n_obs = np.inf, 0, target.shape[0]
    for lag in range(most + 1):
        if rss[lag + 1] <= 0.0:
            return -np.inf
        aic = n_obs * np.log(rss[lag + 1] / n_obs) + 2.0 * (lag + 2)
        if aic < best:
            best, lags = aic, lag
    design, target = _lagged(centered, lags)
    return _nested(design, target, rss)


@kernel
def _lagged(y: Floats, lags: int) -> tuple[Floats, Floats]:
    """Columns 1, y(t-1), dy(t-1) .. dy(t-lags), and dy(t)."""
    steps = np.diff(y)
    n = steps.shape[0] - lags
    design = np.empty((lags + 2, n))
    design[0] = 1.0
    design[1] = y[lags : lags + n]
    for j in range(lags):
        design[2 + j] = steps[lags - 1 - j : lags - 1 - j + n]
    return design, steps[lags:]


@kernel
def _nested(design: Floats, target: Floats, rss: Floats) -> float:
    """Least squares by one Cholesky factor: ``rss[j]`` on columns 0..j; t of column 1 on all.

    From column 2 on each is the one before it a step earlier, so that products of two of them are
    those of the two before, but for the first and the last point.
    """
    k, n = design.shape
    factor, products = np.zeros((k, k)), np.empty((k, k))
    z = np.zeros(k)
    left = dot(target, target)
    for j in range(k):
        for i in range(j + 1):
            if i <= _FIRST_LAG:
                products[j, i] = dot(design[i], design[j])
            else:
                come, gone = (
                    design[j, 0] * design[i, 0],
                    design[j - 1, n - 1] * design[i - 1, n - 1],
                )
                products[j, i] = products[j - 1, i - 1] + (come - gone)
        own = products[j, j]
        for i in range(j + 1):
            s = products[j, i]
            for m in range(i):
                s -= factor[i, m] * factor[j, m]
            if i < j:
                factor[j, i] = s / factor[i, i]
            elif s <= _SINGULAR * own:
                return np.nan
            else:
                factor[j, j] = np.sqrt(s)
        s = dot(design[j], target)
        for m in range(j):
            s -= factor[j, m] * z[m]
        z[j] = s / factor[j, j]
        left = max(left - z[j] * z[j], 0.0)
        rss[j] = left
    if n <= k or left <= 0.0:
        return -np.inf
    b = np.zeros(k)
    for i in range(k - 1, 0, -1):
        s = z[i]
        for m in range(i + 1, k):
            s -= factor[m, i] * b[m]
        b[i] = s / factor[i, i]
    # The diagonal element of the inverse: the squared length of the solution for a unit vector.
    unit = np.zeros(k)
    inverse = 0.0
    for i in range(1, k):
        s = 1.0 if i == 1 else 0.0
        for m in range(1, i):
            s -= factor[i, m] * unit[m]
        unit[i] = s / factor[i, i]
        inverse += unit[i] * unit[i]
    return float(b[1] / np.sqrt(left / (n - k) * inverse))


@kernel
def differences(y: Floats, most: int, kpss_limit: float, adf_limit: float) -> int:
    """Fewest differences after which KPSS does not reject stationarity or ADF rejects a root."""
    w = y
    for d in range(most):
        if w.shape[0] < SHORTEST or kpss(w) < kpss_limit:
            return d
        root = adf(w)
        if np.isnan(root) or root < adf_limit:
            return d
        w = np.diff(w)
    return most
