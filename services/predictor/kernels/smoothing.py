"""Exponential smoothing with additive errors: ETS(A, trend, season), for a table of series.

Error-correction form (Hyndman, Koehler, Ord and Snyder 2008): with ``f = l + phi*b`` and
``e = y - f - s``, ``l' = f + alpha*e``, ``b' = phi*b + beta*e``, ``s' = s + gamma*e``. Parameters
are found by a pattern search within the usual region (0 < beta < alpha < 1, gamma < 1 - alpha, phi
from 0.8); states begin as the first cycles say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

NO_TREND, TREND, DAMPED = 0, 1, 2
_ALPHA, _BETA, _PHI, _GAMMA, PARAMETERS = range(5)
_MIN_PHI, _MAX_PHI = 0.8, 0.98
_MIN_ALPHA, _MIN_WEIGHT = 1e-4, 1e-5
_FINE, _ROUNDS = 2e-3, 60


@kernel
def _run(y: Floats, x: Floats, state: Floats, season: Floats) -> float:
    """Sum of squared errors; ``state`` (level, trend) and ``season`` go from begin to end."""
    level, trend, cycle = state[0], state[1], season.shape[0]
    alpha, beta, phi, gamma = x[_ALPHA], x[_BETA], x[_PHI], x[_GAMMA]
    total, at = 0.0, 0
    if cycle == 1 and trend == 0.0 and beta == 0.0 and gamma == 0.0:
        # A level alone, as theta has it: the same numbers, several times as quickly.
        for t in range(y.shape[0]):
            e = y[t] - level
            level += alpha * e
            total += e * e
        state[0] = level
        return total
    for t in range(y.shape[0]):
        base = level + phi * trend
        e = y[t] - base - season[at]
        level = base + alpha * e
        trend = phi * trend + beta * e
        season[at] += gamma * e
        total += e * e
        at = at + 1 if at + 1 < cycle else 0
    state[0], state[1] = level, trend
    return total


@kernel
def _begin(y: Floats, trended: bool, state: Floats, season: Floats) -> None:
    """Level, trend and season of the first cycles."""
    cycle, n = season.shape[0], y.shape[0]
    first = min(n, max(2 * cycle, 10))
    half = first // 2
    slope = (y[half : 2 * half].mean() - y[:half].mean()) / half if trended else 0.0
    middle = (first - 1) / 2.0
    state[1] = slope
    state[0] = y[:first].mean() - slope * (middle + 1.0) if trended else y[:first].mean()
    season[:] = 0.0
    if cycle > 1:
        for t in range(2 * cycle):
            season[t % cycle] += (y[t] - y[:first].mean() - slope * (t - middle)) / 2.0


@kernel
def _usable(x: Floats, kind: int, seasonal: bool) -> bool:
    fine = _MIN_ALPHA <= x[_ALPHA] <= 1.0 - _MIN_ALPHA
    if kind != NO_TREND:
        fine &= _MIN_WEIGHT <= x[_BETA] <= x[_ALPHA]
    if kind == DAMPED:
        fine &= _MIN_PHI <= x[_PHI] <= _MAX_PHI
    if seasonal:
        fine &= _MIN_WEIGHT <= x[_GAMMA] <= 1.0 - x[_ALPHA]
    return bool(fine)


@kernel
def fit_one(y: Floats, kind: int, cycle: int, x: Floats, state: Floats, season: Floats) -> float:
    """Parameters x by pattern search; ``state`` and ``season`` at the end; squared errors."""
    begin, begin_season = np.empty(2), np.empty(cycle)
    _begin(y, kind != NO_TREND, begin, begin_season)
    x[_ALPHA], x[_BETA], x[_PHI], x[_GAMMA] = 0.3, 0.0, 1.0, 0.0
    step = np.zeros(PARAMETERS)
    step[_ALPHA] = 0.2
    if kind != NO_TREND:
        x[_BETA], step[_BETA] = 0.02, 0.02
    if kind == DAMPED:
        x[_PHI], step[_PHI] = 0.93, 0.04
    if cycle > 1:
        x[_GAMMA], step[_GAMMA] = 0.1, 0.1
    state[:], season[:] = begin, begin_season
    best = _run(y, x, state, season)
    for _ in range(_ROUNDS):
        better = False
        for i in range(PARAMETERS):
            for side in (1.0, -1.0):
                if step[i] == 0.0:
                    continue
                kept = x[i]
                x[i] = kept + side * step[i]
                if _usable(x, kind, cycle > 1):
                    state[:], season[:] = begin, begin_season
                    now = _run(y, x, state, season)
                    if now < best * (1.0 - 1e-9):
                        best, better = now, True
                        step[i] *= 1.4
                        break
                x[i] = kept
        if not better:
            step *= 0.5
            if step.max() < _FINE:
                break
    state[:], season[:] = begin, begin_season
    return _run(y, x, state, season)


@kernel
def _project(
    x: Floats, state: Floats, season: Floats, n: int, variance: float, mean: Floats, dev: Floats
) -> None:
    """Forecast and deviations from the states after n points."""
    cycle = season.shape[0]
    damped, power, total = 0.0, 1.0, 0.0
    for h in range(mean.shape[0]):
        power *= x[_PHI]
        dev[h] = np.sqrt(variance * (1.0 + total))
        damped += power
        mean[h] = state[0] + damped * state[1] + season[(n + h) % cycle]
        weight = x[_ALPHA] + x[_BETA] * damped
        if cycle > 1 and (h + 1) % cycle == 0:
            weight += x[_GAMMA]
        total += weight * weight


@kernel
def fit_smoothing(
    values: Floats, kinds: Longs, seasons: Longs, mean: Floats, dev: Floats, found: Floats
) -> None:
    """For each row the model of least AICc of (trend kind, season) pairs, and its forecast.

    ``found``: (series, PARAMETERS + 2): the parameters' values, the index of the pair, AICc.
    """
    n = values.shape[1]
    for row in range(values.shape[0]):
        best = np.inf
        for pair in range(kinds.shape[0]):
            cycle = max(1, seasons[pair])
            if cycle > 1 and n < 3 * cycle:
                continue
            x, state, season = np.zeros(PARAMETERS), np.zeros(2), np.zeros(cycle)
            squares = fit_one(values[row], kinds[pair], cycle, x, state, season)
            k = 3 + 2 * min(kinds[pair], 1) + (1 if kinds[pair] == DAMPED else 0)
            k += cycle if cycle > 1 else 0
            left = n - k - 1
            value = n * np.log(max(squares, 1e-300) / n) + 2.0 * k
            value += 2.0 * k * (k + 1) / left if left > 0 else np.inf
            if value < best or pair == 0:
                best = value
                found[row, :PARAMETERS] = x
                found[row, PARAMETERS], found[row, PARAMETERS + 1] = pair, value
                variance = squares / max(1, n - 2 - 2 * min(kinds[pair], 1))
                _project(x, state, season, n, variance, mean[row], dev[row])


@kernel
def fit_theta(values: Floats, mean: Floats, dev: Floats, found: Floats) -> None:
    """Theta with lines 0 and 2 (Assimakopoulos and Nikolopoulos 2000; Hyndman and Billah 2003).

    Simple exponential smoothing whose forecasts rise by half the slope of the least squares line;
    ``found``: (series, 2): alpha and that half slope.
    """
    n = values.shape[1]
    middle = (n - 1) / 2.0
    for row in range(values.shape[0]):
        y = values[row]
        x, state, none = np.zeros(PARAMETERS), np.zeros(2), np.zeros(1)
        squares = fit_one(y, NO_TREND, 1, x, state, none)
        slope, spread = 0.0, 0.0
        for t in range(n):
            slope += (t - middle) * y[t]
            spread += (t - middle) ** 2
        drift, alpha = 0.5 * slope / spread, x[_ALPHA]
        variance = squares / (n - 2)
        found[row, 0], found[row, 1] = alpha, drift
        for h in range(mean.shape[1]):
            lag = (1.0 - (1.0 - alpha) ** n) / alpha
            mean[row, h] = state[0] + drift * (h + lag)
            dev[row, h] = np.sqrt(variance * (1.0 + h * alpha * alpha))
