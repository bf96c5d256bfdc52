"""The step at which a growing series changed its pace, by its growth in blocks of a day.

Of every possible moment at the edge of a block, the growth of the blocks before is compared with
that of the blocks after it, in deviations of their difference (Welch's statistic). The largest
counts, if it is larger than what many moments would reach by chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

_BLOCKS_BEFORE = 8
"""Blocks before a change at least: more than a week, so that a weekend is no change."""
_DEVIATIONS = 4.5
_EXACT = 1e-9


@kernel
def _change(y: Floats, block: int) -> tuple[int, float, float]:
    """Return the steps since the pace of ``y`` changed (0: it did not), the pace before and now."""
    n = y.shape[0]
    blocks = (n - 1) // block
    first = n - 1 - blocks * block
    growth = np.empty(blocks)
    total = squares = 0.0
    for b in range(blocks):
        growth[b] = y[first + (b + 1) * block] - y[first + b * block]
        total += growth[b]
        squares += growth[b] * growth[b]
    highest, lowest, step_squares = -np.inf, np.inf, 0.0
    after = after_squares = 0.0
    best, found, old, new = _DEVIATIONS, 0, 0.0, 0.0
    for k in range(1, blocks - _BLOCKS_BEFORE + 1):
        for t in range(n - k * block, n - (k - 1) * block):
            step = y[t] - y[t - 1]
            highest, lowest = max(highest, step), min(lowest, step)
            step_squares += step * step
        after += growth[blocks - k]
        after_squares += growth[blocks - k] ** 2
        now, then = after / k, (total - after) / (blocks - k)
        spread = after_squares - k * now * now
        spread += squares - after_squares - (blocks - k) * then * then
        pooled = max(0.0, spread) / (blocks - 2)
        # Also by the steps within the blocks: of one block alone nothing else is known.
        within = block * max(0.0, step_squares / (k * block) - (now / block) ** 2)
        deviation = np.sqrt(max(pooled, within) / k + pooled / (blocks - k))
        # One single step, however large, is no pace.
        if now > then:
            away = max(0.0, now - then - (highest - now / block) / k)
        else:
            away = max(0.0, then - now - (now / block - lowest) / k)
        size = away / (deviation + _EXACT * (abs(now) + abs(then)) + 1e-300)
        if size > best:
            best, found, old, new = size, k * block, then / block, now / block
    return found, old, new


@kernel
def even_paces(values: Floats, block: int, since: Longs) -> None:
    """Shift each row of ``values``, in place, as if it had always grown at its present pace.

    ``since``: (series,), filled with the steps since a change of pace; 0: there was none.
    """
    n = values.shape[1]
    for row in range(values.shape[0]):
        since[row], old, new = _change(values[row], block)
        if since[row]:
            at = n - 1 - since[row]
            for t in range(at):
                values[row, t] += (new - old) * (t - at)
