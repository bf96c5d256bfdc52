"""The seasonal part: an exponential mean over the cycles for each moment of the season.

How quickly it follows (or that there is no season) is chosen by what it would have been worth:
the errors of forecasting each cycle from those before, on the series less its centred mean over a
season. A rate of 1 is seasonal naive, the running mean a fixed season; between them the season
changes slowly, as in exponential smoothing or STL.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.predictor.kernels.period import CYCLES, season_of
from shared.compiled import kernel

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

RATES = (0.0, 0.15, 0.3, 0.5, 0.75, 1.0)
"""0: the running mean, whose rate after c cycles is 1/c."""
_WEEK = 7
"""Seasons of the longer rhythm: the days of a week."""
_TREND_WORTH = 0.95
"""Below this share of the squared errors a continued trend must bring them to count."""
_RATES = np.array(RATES)


@kernel
def _level(y: Floats, season: int) -> Floats:
    """Centred mean over a season, continued over the outermost half seasons.

    Held constant there, the last half season's growth would count as season and be forecast to
    vanish. It is continued by the growth of the half season before, as far as that has told of
    the next half season's growth in this series: wholly in a trend, not at all in noise.
    """
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
    last, share = n - 1 - half, _persistence(level[half : n - half], half)
    begin = share * (level[min(2 * half, last)] - level[half]) / half
    end = share * (level[last] - level[max(half, last - half)]) / half
    for t in range(half):
        level[half - 1 - t] = level[half] - begin * (t + 1)
        level[last + 1 + t] = level[last] + end * (t + 1)
    return level


@kernel
def _persistence(level: Floats, span: int) -> float:
    """Share (0 to 1) of its growth over ``span`` that a level repeats over the next, by regression.

    Only what saves a good part of the squared errors of no growth counts.
    """
    cross, power, total = 0.0, 0.0, 0.0
    for t in range(span, level.shape[0] - span):
        before, after = level[t] - level[t - span], level[t + span] - level[t]
        cross += before * after
        power += before * before
        total += after * after
    if power <= 0.0 or cross <= 0.0:
        return 0.0
    share = min(1.0, cross / power)
    left = total - 2.0 * share * cross + share * share * power
    return float(share) if left < _TREND_WORTH * total else 0.0


@kernel
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


@kernel
def take_season(y: Floats, season: int, worth: float, ahead: Floats) -> tuple[int, float]:
    """Take the season out of ``y``, in place; add the next season's to ``ahead``, repeated.

    ``worth``: squared errors must fall below this share of those without a season. Returns the
    index of the rate (-1: no season, nothing changed) and the variance that it adds to a forecast.
    """
    n = y.shape[0]
    if season <= 1 or n < CYCLES * season:
        return -1, 0.0
    cycles = n // season
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


@kernel
def take_rhythms(
    y: Floats, season: int, worth: float, ahead: Floats, rates: Longs
) -> tuple[int, float]:
    """Take the season and its week (seven of them) out of ``y``, as ``take_season`` does.

    Where there is too little history for ``season`` or it is 1, a period is looked for; 0: none is
    taken. ``rates``: (2,), the index of each rate. Returns the season and the variance added.
    """
    rates[:] = -1
    season = season_of(y, season)
    rates[0], day = take_season(y, season, worth, ahead)
    rates[1], week = take_season(y, _WEEK * season, worth, ahead)
    return season, day + week


@kernel
def take_seasons(
    values: Floats, season: int, worth: float, ahead: Floats, variances: Floats
) -> None:
    """``take_rhythms`` of each row; ``ahead``: (series, horizon), ``variances``: (series,)."""
    rates = np.empty(2, np.int64)
    for row in range(values.shape[0]):
        _, variances[row] = take_rhythms(values[row], season, worth, ahead[row], rates)


@kernel
def _smooth(states: Floats, rate: float) -> None:
    """Smooth the season of past cycles backwards, so that later cycles contribute."""
    last = states.shape[0] - 1
    for c in range(last - 1, -1, -1):
        for at in range(states.shape[1]):
            states[c, at] += (1.0 - rate) * (states[c + 1, at] - states[c, at])
