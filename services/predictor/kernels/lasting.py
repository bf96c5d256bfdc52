"""The largest steps of a series that lasted: what came after lies wholly beyond what was before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel

Floats = NDArray[np.float64]


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
    """How far ``y`` rose and fell most (both 0 or more) for two windows: one before, one after."""
    most, least = _largest(y, window), -_largest(-y, window)
    up = down = 0.0
    for t in range(window, most.shape[0]):
        up = max(up, least[t] - most[t - window])
        down = max(down, least[t - window] - most[t])
    return up, down
