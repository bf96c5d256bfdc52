"""Finds the period of a series without a known season: the lag at which its changes repeat.

Where a calendar's season is unknown, or longer than a third of the history, the autocorrelation of
the changes over a few steps is searched for its highest peak. Levels would not do: those of any
random walk are alike at all lags. Changes over one step are mostly noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import dot, kernel

Floats = NDArray[np.float64]

CYCLES = 3
"""A season is learned from so many cycles at least."""
_SPAN = 5
"""Steps over which a change is measured."""
_MIN_PERIOD = 8
"""Steps of the shortest period searched for; changes overlap below ``_SPAN``."""
_MIN_CORRELATION, _DEVIATIONS = 0.3, 4.0


@kernel
def period_of(y: Floats) -> int:
    """The lag (8 steps to a third of the series) where changes repeat most; 0: nowhere clearly.

    Clearly: with a correlation of 0.3, and of four deviations of white noise's.
    """
    n, most = y.shape[0] - _SPAN, y.shape[0] // CYCLES
    if most <= _MIN_PERIOD:
        return 0
    changes = y[_SPAN:] - y[:-_SPAN]
    changes = changes - changes.mean()
    power = dot(changes, changes)
    if power <= 0.0:
        return 0
    best, found = max(_MIN_CORRELATION, _DEVIATIONS / np.sqrt(n)), 0
    before = dot(changes[_MIN_PERIOD - 1 :], changes) / power
    now = dot(changes[_MIN_PERIOD:], changes) / power
    for lag in range(_MIN_PERIOD, most + 1):
        after = dot(changes[lag + 1 :], changes) / power
        if now > best and now >= before and now >= after:
            best, found = now, lag
        before, now = now, after
    return found


@kernel
def season_of(y: Floats, season: int) -> int:
    """The season to take out: the given one where there is enough of it, else a period found.

    0 where neither is there, and where 0 is given: none is wanted.
    """
    if season == 0 or (season > 1 and y.shape[0] >= CYCLES * season):
        return season
    return period_of(y)
