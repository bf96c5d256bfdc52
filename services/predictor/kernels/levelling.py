"""Finds and removes clean-ups in a history; ``behaviour`` explains them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

_RECENT, _UNDONE = 24, 0.5
"""A fall takes back a rise of one step of this share of it, or more, among so many steps before."""


@kernel
def _is_return(steps: Floats, at: int, sign: float) -> bool:
    """Return whether the fall at a step only takes back what had risen at once before it."""
    for before in range(max(0, at - _RECENT), at):
        if sign * steps[before] >= _UNDONE * abs(steps[at]):
            return True
    return False


@kernel
def level(
    values: Floats, sign: float, share: float, times: float, levelled: Floats, at: Longs
) -> tuple[int, float]:
    """Level the falls of ``sign * values``: steps of more than ``share`` and ``times`` the median.

    ``levelled``: (points,) filled where there is any; ``at``: (points,) filled from the front
    with the points that the falls led to. How many there are, and the median of their sizes. The
    end of a peak, or of noise, is no fall.
    """
    n, known = values.shape[0], 0
    place, steps = np.empty(n, np.int64), np.empty(n)
    largest = 0.0
    for t in range(n):
        if not np.isfinite(values[t]):
            continue
        if known:
            steps[known - 1] = values[t] - values[place[known - 1]]
            largest = max(largest, -sign * steps[known - 1])
        place[known] = t
        known += 1
    # Most histories have no step as large as that, whatever their median.
    if largest <= share:
        return 0, 0.0
    steps = steps[: known - 1]
    least = max(times * np.median(np.abs(steps)), share)
    falls = -sign * steps > least
    for at_fall in range(known - 1):
        if falls[at_fall] and _is_return(steps, at_fall, sign):
            falls[at_fall] = False
    count = int(falls.sum())
    if not count:
        return 0, 0.0
    # The median step takes the fall's place.
    usual = np.median(steps[~falls]) if count < known - 1 else 0.0
    size, found, after = np.empty(count), count, 0.0
    levelled[:] = values
    for step in range(known - 2, -1, -1):
        if falls[step]:
            found -= 1
            at[found], size[found] = place[step + 1], abs(steps[step] - usual)
            after += steps[step] - usual
        levelled[place[step]] += after
    return count, np.median(size)
