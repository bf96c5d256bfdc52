"""The seasonal part: an exponential mean over the cycles for each moment of the season.

How quickly it follows (or that there is no season) is chosen by what it would have been worth:
the errors of forecasting each cycle from those before, on the series less its centred mean over a
season. A rate of 1 is seasonal naive, the running mean a fixed season; between them the season
changes slowly, as in exponential smoothing or STL.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import summing_kernel

Floats = NDArray[np.float64]

RATES = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)
"""0: the running mean, whose rate after c cycles is 1/c."""
_CYCLES = 3
_RATES = np.array(RATES)


@summing_kernel
def _level(y: Floats, season: int) -> Floats:
    """Centred mean over a season; the outermost half seasons have their neighbour's."""
    n, half = y.shape[0], season // 2
    sums = np.zeros(n + 1)
    for t in range(n):
        sums[t + 1] = sums[t] + y[t]
    level = np.empty(n)
    for t in range(half, n - half):
        if season % 2:
            level[t] = (sums[t + half + 1] - sums[t - half]) / season
        else:
            inner = sums[t + half] - sums[t - half + 1]
            level[t] = (inner + 0.5 * (y[t - half] + y[t + half])) / season
    level[:half] = level[half]
    level[n - half :] = level[n - 1 - half]
    return level


@summing_kernel
def _follow(table: Floats, rate: float, states: Floats) -> float:
    """States (cycles, season) after each cycle of ``table``; sum of squared cycle-ahead errors."""
    errors = 0.0
    states[0] = table[0]
    for c in range(1, table.shape[0]):
        weight = rate if rate > 0.0 else 1.0 / (c + 1.0)
        for at in range(table.shape[1]):
            miss = table[c, at] - states[c - 1, at]
            errors += miss * miss
            states[c, at] = states[c - 1, at] + weight * miss
    return errors


@summing_kernel
def take_season(y: Floats, season: int, worth: float, ahead: Floats) -> tuple[int, float]:
    """Take the season out of ``y``, in place; add the next season's to ``ahead``, repeated.

    ``worth``: squared errors must fall below this share of those without a season. Returns the
    index of the rate (-1: no season, nothing changed) and the variance that it adds to a forecast.
    """
    n = y.shape[0]
    cycles = n // season
    if cycles < _CYCLES or season <= 1:
        return -1, 0.0
    first = n - cycles * season
    table = (y - _level(y, season))[first:].reshape(cycles, season)
    best = 0.0
    for c in range(1, cycles):
        for at in range(season):
            best += table[c, at] * table[c, at]
    best *= worth
    chosen = -1
    states = np.empty((cycles, season))
    for r in range(_RATES.shape[0]):
        errors = _follow(table, _RATES[r], states)
        if errors < best:
            best, chosen = errors, r
    if chosen < 0:
        return -1, 0.0
    rate = _RATES[chosen]
    _follow(table, rate, states)
    for h in range(ahead.shape[0]):
        ahead[h] += states[cycles - 1, h % season]
    _smooth(states, rate)
    for t in range(n):
        y[t] -= states[max(t - first, 0) // season, (t - first) % season]
    if rate == 0.0:
        rate = 1.0 / (cycles + 1.0)
    return chosen, rate * best / ((cycles - 1) * season)


@summing_kernel
def take_seasons(
    values: Floats, season: int, worth: float, ahead: Floats, variances: Floats
) -> None:
    """``take_season`` of each row; ``ahead``: (series, horizon), ``variances``: (series,)."""
    for row in range(values.shape[0]):
        _, variances[row] = take_season(values[row], season, worth, ahead[row])


@summing_kernel
def _smooth(states: Floats, rate: float) -> None:
    """What a past cycle's season was, seen from the end: later cycles tell of it, too."""
    last = states.shape[0] - 1
    for c in range(last - 1, -1, -1):
        for at in range(states.shape[1]):
            states[c, at] += (1.0 - rate) * (states[c + 1, at] - states[c, at])
