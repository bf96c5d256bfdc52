"""Steps of a series that lasted, and peaks that came once: what a model should not learn from.

A step lasted where what came after lies wholly beyond what was before, for some steps each. A peak
is gone after three steps at most. Both are told from the usual by the median of their kind, of a
sample of places. Three or more of them are no accident but a habit of the series, and stay.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel

Floats = NDArray[np.float64]

_RARE = 2
"""The largest number of steps or peaks that are accidents."""
_PEAK_STEPS, _PEAK_TIMES, _PEAK_RETURN = 3, 20.0, 0.25
_WINDOW, _STEP_TIMES = 8, 3.0
_SAMPLED = 5
_MIN_POINTS = 4 * _WINDOW


@kernel
def _largest(y: Floats, window: int) -> Floats:
    """The largest value of each ``window`` of ``y``, by the largest before and after block ends."""
    n = y.shape[0]
    before, after = np.empty(n), np.empty(n)
    for t in range(n):
        before[t] = y[t] if t % window == 0 else max(before[t - 1], y[t])
    for t in range(n - 1, -1, -1):
        after[t] = y[t] if t == n - 1 or (t + 1) % window == 0 else max(after[t + 1], y[t])
    return np.maximum(after[: n - window + 1], before[window - 1 :])


@kernel
def lasting_steps(y: Floats, window: int) -> tuple[float, float]:
    """The largest rise and fall of ``y`` (both 0 or more) for two windows: one before, one
    after.
    """
    most, least = _largest(y, window), -_largest(-y, window)
    up = down = 0.0
    for t in range(window, most.shape[0]):
        up = max(up, least[t] - most[t - window])
        down = max(down, least[t - window] - most[t])
    return up, down


@kernel
def _fill_peaks(y: Floats) -> bool:
    """Draw a line through the peaks of ``y``, in place, where there are one or two."""
    n = y.shape[0]
    usual = np.median(np.abs(y[_SAMPLED::_SAMPLED] - y[_SAMPLED - 1 : -1 : _SAMPLED]))
    first, last, count = np.empty(_RARE, np.int64), np.empty(_RARE, np.int64), 0
    t = 1
    while t < n - 1:
        jump = y[t] - y[t - 1]
        if abs(jump) > _PEAK_TIMES * usual and jump != 0.0:
            for back in range(t + 1, min(n, t + _PEAK_STEPS + 1)):
                if abs(y[back] - y[t - 1]) < _PEAK_RETURN * abs(jump):
                    if count == _RARE:
                        return False
                    first[count], last[count] = t, back
                    count += 1
                    t = back
                    break
        t += 1
    for one in range(count):
        low, high = first[one] - 1, last[one]
        for at in range(low + 1, high):
            y[at] = y[low] + (y[high] - y[low]) * (at - low) / (high - low)
    return count > 0


@kernel
def _level_steps(y: Floats) -> bool:
    """Shift what was before the lasting steps of ``y``, in place, where there are one or two."""
    most, least = _largest(y, _WINDOW), -_largest(-y, _WINDOW)
    usual = np.median((most - least)[::_SAMPLED])
    growth = np.median(y[_SAMPLED::_SAMPLED] - y[_SAMPLED - 1 : -1 : _SAMPLED])
    at, count = np.empty(_RARE, np.int64), 0
    t = _WINDOW
    while t < most.shape[0]:
        size = max(least[t] - most[t - _WINDOW], least[t - _WINDOW] - most[t])
        if size > _STEP_TIMES * usual and size > 0.0:
            if count == _RARE:
                return False
            best = t
            for later in range(t + 1, min(t + _WINDOW, most.shape[0])):
                now = max(
                    least[later] - most[later - _WINDOW], least[later - _WINDOW] - most[later]
                )
                if now > size:
                    best, size = later, now
            at[count] = best
            count += 1
            t = best + _WINDOW
        t += 1
    for one in range(count):
        t = at[one]
        y[:t] += y[t : t + _WINDOW].mean() - y[t - _WINDOW : t].mean() - _WINDOW * growth
    return count > 0


@kernel
def without_accidents(values: Floats) -> bool:
    """Fill peaks and level steps of each row of ``values``, in place; whether there were any."""
    found = False
    if values.shape[1] >= _MIN_POINTS:
        for row in range(values.shape[0]):
            found |= _fill_peaks(values[row])
            found |= _level_steps(values[row])
    return found
