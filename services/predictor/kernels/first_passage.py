"""Counts how often the threshold is reached, over simulated paths and over the history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


@kernel
def _share(first: Longs, total: int) -> Floats:
    """Shares reached within 1.. steps, from the counts of those that reached it at each."""
    found, so_far = np.empty(first.shape[0]), 0
    for step in range(first.shape[0]):
        so_far += first[step]
        found[step] = so_far / total
    return found


@kernel
def share_of_paths(mean: Floats, growth: Floats, normal: Floats, limit: float) -> Floats:
    """The share of the paths ``mean + cumsum(growth * normal[path])`` that has reached ``limit``.

    ``mean``, ``growth``: (horizon,); ``normal``: (paths, horizon). (horizon,), never falls.
    """
    first = np.zeros(mean.shape[0], np.int64)
    for path in range(normal.shape[0]):
        wandered = 0.0
        for step in range(mean.shape[0]):
            wandered += normal[path, step] * growth[step]
            if mean[step] + wandered >= limit:
                first[step] += 1
                break
    return _share(first, normal.shape[0])


@kernel
def share_of_moments(values: Floats, distance: float, horizon: int) -> Floats:
    """The share of the moments of ``values`` from which they rose by ``distance`` within 1..
    steps, among those with ``horizon`` steps after them: (horizon,), never falls.
    """
    first, moments = np.zeros(horizon, np.int64), values.shape[0] - horizon
    for moment in range(moments):
        for step in range(horizon):
            if values[moment + 1 + step] - values[moment] >= distance:
                first[step] += 1
                break
    return _share(first, moments)
