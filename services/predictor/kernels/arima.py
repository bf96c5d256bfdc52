"""One ARIMA after the other in machine code: season, differences, orders, forecast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.predictor.kernels.orders import best_order, criterion_of
from services.predictor.kernels.season import take_rhythms
from shared.compiled import dot, kernel
from shared.stationarity import differences

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

DRIFT_AUTO = 2
_FLAT = 1e-9
# Places of the numbers of a series, in the arrays that a kernel fills.
P, Q, KEPT, FITTED, FAILED, D, DAY, WEEK, PERIOD, LAGS, COUNTS = range(11)
VARIANCE, LIKELIHOOD, CRITERION, LJUNG_BOX, NUMBERS = range(5)


@kernel
def fit_all(
    values: Floats,
    whole: Longs,
    real: Floats,
    coefficients: Floats,
    counts: Longs,
    numbers: Floats,
    mean: Floats,
    deviation: Floats,
) -> None:
    season, horizon = whole[7], mean.shape[1]
    for row in range(values.shape[0]):
        y, count, x = values[row].copy(), counts[row], coefficients[row]
        largest = np.abs(y).max()
        ahead = np.zeros(horizon)
        count[PERIOD], added = take_rhythms(y, season, real[0], ahead, count[DAY : WEEK + 1])
        d = _constant_after(y, _FLAT * max(1.0, largest))
        if d >= 0:
            w, errors, scale = _differenced(y, d), np.zeros(y.shape[0] - d), 1.0
            x[0], count[KEPT] = w.mean(), 1
        else:
            d = whole[9] if whole[8] >= 0 else differences(y, whole[2], real[1], real[2])
            d, w, errors, scale, squares = _searched(y, d, whole, x, count)
            if squares == np.inf:
                count[D], count[KEPT] = d, 0
                mean[row], deviation[row] = np.nan, np.nan
                continue
            _describe(errors, squares, scale, whole[3], count, numbers[row])
        count[D] = d
        x[0] *= scale
        _forecast(w, errors, scale, x, count, numbers[row], mean[row], deviation[row])
        _integrate(y, d, mean[row])
        for h in range(horizon):
            mean[row, h] += ahead[h]
            deviation[row, h] = np.sqrt(deviation[row, h] ** 2 + added)


@kernel
def _constant_after(y: Floats, flat: float) -> int:
    """0 for a constant, 1 for constant steps, else -1."""
    if y.max() - y.min() <= flat:
        return 0
    steps = np.diff(y)
    return 1 if steps.max() - steps.min() <= flat else -1


@kernel
def _differenced(y: Floats, d: int) -> Floats:
    w = y
    for _ in range(d):
        w = np.diff(w)
    return w


@kernel
def _searched(
    y: Floats, d: int, whole: Longs, x: Floats, count: Longs
) -> tuple[int, Floats, Floats, float, float]:
    """Differences, the differenced series, its standardised errors, scale and S of the best order.

    Where every order comes too near a unit root, the series is not as stationary as the tests
    hold it to be: it is differenced once more and searched again. S is inf where that is of no
    avail, either; a fixed order is taken as it is.
    """
    most = d if whole[8] >= 0 else max(d, whole[2])
    while True:
        w = _differenced(y, d)
        errors, scale = np.zeros(w.shape[0]), np.sqrt(np.var(w))
        squares = np.inf
        if scale > 0.0:
            squares = _search(w / scale, d, whole, x, errors, count)
        if squares < np.inf or d >= most:
            return d, w, errors, scale, squares
        d += 1


@kernel
def _search(w: Floats, d: int, whole: Longs, x: Floats, errors: Floats, count: Longs) -> float:
    """S of the best order; inf where none could be fitted."""
    drift = whole[4]
    mean = 1 if d == 0 or (d == 1 and drift != 0) else 0
    optional = 1 if d == 1 and drift == DRIFT_AUTO else 0
    return best_order(
        w,
        whole[0],
        whole[1],
        whole[8],
        whole[10],
        mean,
        optional,
        whole[3],
        whole[5],
        whole[6],
        x,
        errors,
        count,
    )


@kernel
def _describe(
    errors: Floats, squares: float, scale: float, kind: int, count: Longs, number: Floats
) -> None:
    """Likelihood, criterion, Ljung-Box."""
    n, k = errors.shape[0], count[KEPT] + count[P] + count[Q]
    constant = n * (np.log(2.0 * np.pi * scale * scale) + 1.0)
    number[CRITERION] = criterion_of(kind, squares, k, n) + constant
    count[LAGS] = max(count[P] + count[Q] + 1, min(10, n // 5))
    number[LIKELIHOOD] = -0.5 * (n * np.log(squares / n) + constant)
    total = dot(errors, errors)
    number[VARIANCE] = total / n * scale * scale
    for lag in range(1, count[LAGS] + 1):
        r = dot(errors[lag:], errors[: n - lag]) / total if total > 0.0 else 0.0
        number[LJUNG_BOX] += n * (n + 2.0) * r * r / (n - lag)


@kernel
def _forecast(
    w: Floats,
    errors: Floats,
    scale: float,
    x: Floats,
    count: Longs,
    number: Floats,
    mean: Floats,
    deviation: Floats,
) -> None:
    """Forecasts of w, and the deviations once the differences are undone, from psi weights."""
    p, q, d, n, horizon = count[P], count[Q], count[D], w.shape[0], mean.shape[0]
    path, psi = np.empty(p + horizon), np.zeros(horizon)
    for i in range(p):
        path[i] = w[n - p + i] - x[0]
    for h in range(horizon):
        s, weight = 0.0, 1.0
        if h > 0:
            weight = x[p + h] if h <= q else 0.0
        for i in range(p):
            s += x[1 + i] * path[p + h - 1 - i]
            if i < h:
                weight += x[1 + i] * psi[h - 1 - i]
        for j in range(h, q):
            s += x[1 + p + j] * errors[n - 1 - (j - h)] * scale
        path[p + h], psi[h] = s, weight
        mean[h] = s + x[0]
    for _ in range(d):
        for h in range(1, horizon):
            psi[h] += psi[h - 1]
    total = 0.0
    for h in range(horizon):
        total += psi[h] * psi[h]
        deviation[h] = np.sqrt(total * number[VARIANCE])


@kernel
def _integrate(y: Floats, d: int, mean: Floats) -> None:
    """Undo ``d`` differences, in place."""
    for level in range(d - 1, -1, -1):
        z = y
        for _ in range(level):
            z = np.diff(z)
        last = z[z.shape[0] - 1]
        for h in range(mean.shape[0]):
            last += mean[h]
            mean[h] = last
