"""Autoregression on recent and seasonal lags by ridge regression.

With forty lags and a few hundred points least squares would learn the noise by heart. The penalty
is that of least generalised cross-validation (Golub, Heath and Wahba 1979). Several steps ahead by
feeding the forecasts back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.predictor.kernels.period import season_of
from shared.compiled import allocation_free_kernel, dot, kernel

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_PENALTIES = np.array(PENALTIES)
_WEEK = 7
_NEAR_SEASON = 24
"""The longest season of which every lag is taken; of longer ones the nearest and those about it."""
_NEAREST_LAGS = 12
_MIN_ROWS, _ROWS_A_LAG = 20, 1.2
_HUGE = 1e100


@kernel
def _lags(n: int, season: int) -> Longs:
    """Lags in rising order, so few that enough rows of ``n`` points are left to learn from."""
    wanted = np.zeros(_WEEK * season + 2 + _NEAREST_LAGS, np.bool_)
    near = season + 1 if 1 < season <= _NEAR_SEASON else _NEAREST_LAGS
    wanted[1 : near + 1] = True
    if season > 1:
        for cycle in range(1, _WEEK + 1):
            wanted[cycle * season] = True
        for cycle in (1, 2, _WEEK):
            wanted[cycle * season - 1] = wanted[cycle * season + 1] = True
    lags = np.flatnonzero(wanted)
    while lags.shape[0] > 1:
        rows = n - lags[-1]
        if rows >= max(_MIN_ROWS, _ROWS_A_LAG * lags.shape[0]):
            break
        lags = lags[:-1]
    return lags


@kernel
def _moments(z: Floats, lags: Longs) -> tuple[Floats, Floats, Floats, float, float]:
    """Means and sums of products of the lagged columns, also with the target; its mean, power."""
    n, k, most = z.shape[0], lags.shape[0], lags[-1]
    rows = n - most
    target = z[most:] - z[most:].mean()
    means, gram, cross = np.empty(k), np.empty((k, k)), np.empty(k)
    for i in range(k):
        column = z[most - lags[i] : n - lags[i]]
        means[i] = column.mean()
        cross[i] = dot(column, target)
    # Two columns as far apart as two before them have nearly their product: ``known``, of lag
    # ``at`` and the one so far from it.
    known, at = np.empty(most), np.zeros(most, np.int64)
    for j in range(k):
        for i in range(j, k):
            apart = lags[i] - lags[j]
            if at[apart] == 0:
                known[apart] = dot(z[most - lags[i] : n - lags[i]], z[most - lags[j] : n - lags[j]])
            else:
                for lag in range(at[apart] + 1, lags[j] + 1):
                    gone, come = n - lag, most - lag
                    known[apart] += z[come] * z[come - apart] - z[gone] * z[gone - apart]
            at[apart] = lags[j]
            gram[i, j] = gram[j, i] = known[apart] - rows * means[i] * means[j]
    return means, gram, cross, z[most:].mean(), dot(target, target)


@allocation_free_kernel
def _factor(gram: Floats, penalty: float, lower: Floats) -> None:
    """``lower`` is filled with the Cholesky factor of ``gram`` with the penalty on its diagonal."""
    for i in range(gram.shape[0]):
        for j in range(i + 1):
            value = gram[i, j] - dot(lower[i, :j], lower[j])
            if i == j:
                lower[i, i] = np.sqrt(max(value + penalty, 0.5 * penalty))
            else:
                lower[i, j] = value / lower[j, j]


@allocation_free_kernel
def _inverse(lower: Floats, inverse: Floats) -> None:
    """The rows of ``inverse`` are filled with the columns of the inverse of ``lower``."""
    n = lower.shape[0]
    for column in range(n):
        inverse[column, column] = 1.0 / lower[column, column]
        for i in range(column + 1, n):
            value = dot(lower[i, column:i], inverse[column, column:])
            inverse[column, i] = -value / lower[i, i]


@kernel
def _solve(gram: Floats, cross: Floats, power: float, rows: int, x: Floats) -> tuple[int, float]:
    """Coefficients ``x`` by the best penalty; its index and the variance of the errors.

    Written out, as a linear-algebra library's last bits depend on its threads.
    """
    n = gram.shape[0]
    lower, inverse = np.zeros((n, n)), np.zeros((n, n))
    turned, now = np.empty(n), np.empty(n)
    best, chosen, variance = np.inf, 0, 0.0
    for at in range(_PENALTIES.shape[0]):
        penalty = _PENALTIES[at]
        _factor(gram, penalty, lower)
        _inverse(lower, inverse)
        trace = 0.0
        turned[:] = 0.0
        for column in range(n):
            for i in range(column, n):
                trace += inverse[column, i] * inverse[column, i]
                turned[i] += inverse[column, i] * cross[column]
        squares = power
        for k in range(n):
            now[k] = 0.0
            for i in range(k, n):
                now[k] += inverse[k, i] * turned[i]
            squares -= now[k] * (cross[k] + penalty * now[k])
        left = max(1.0, rows - 1.0 - n + penalty * trace)
        score = max(squares, 0.0) / (left * left)
        if score < best:
            best, chosen, variance = score, at, max(squares, 0.0) / left
            x[:] = now
    return chosen, variance


@kernel
def _ahead(
    z: Floats, lags: Longs, x: Floats, means: Floats, centre: float, variance: float, out: Floats
) -> None:
    """Fill ``out`` (2, horizon): means and deviations, by feeding back what was forecast."""
    n, horizon = z.shape[0], out.shape[1]
    path, psi = np.empty(n + horizon), np.zeros(horizon)
    path[:n] = z
    total = 0.0
    for h in range(horizon):
        value, weight = centre, 1.0 if h == 0 else 0.0
        for k in range(lags.shape[0]):
            value += x[k] * (path[n + h - lags[k]] - means[k])
            if lags[k] <= h:
                weight += x[k] * psi[h - lags[k]]
        path[n + h], psi[h] = value, weight
        total += weight * weight
        out[0, h], out[1, h] = value, np.sqrt(variance * total)


@kernel
def fit_ridge(values: Floats, season: int, out: Floats, found: Longs) -> None:
    """Fit and forecast each row; ``out``: (series, 2, horizon), NaN where the forecast runs away.

    ``found``: (series, 3): season, number of lags, index of the penalty.
    """
    for row in range(values.shape[0]):
        y = values[row]
        middle, scale = y.mean(), y.std()
        if scale <= 0.0:
            out[row, 0], out[row, 1] = middle, 0.0
            continue
        z = (y - middle) / scale
        own = season_of(z, season)
        lags = _lags(z.shape[0], own)
        means, gram, cross, centre, power = _moments(z, lags)
        x = np.empty(lags.shape[0])
        rows = z.shape[0] - lags[-1]
        found[row, 2], variance = _solve(gram, cross, power, rows, x)
        found[row, 0], found[row, 1] = own, lags.shape[0]
        _ahead(z, lags, x, means, centre, variance, out[row])
        if np.abs(out[row]).max() < _HUGE:
            out[row, 0] = middle + scale * out[row, 0]
            out[row, 1] *= scale
        else:
            out[row] = np.nan
