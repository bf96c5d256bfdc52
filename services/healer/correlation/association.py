"""Ranks metrics by their association with an alarm: the nearest-neighbour two-sample test.

The windows of a metric just before the alarms are one sample, windows at random times the other.
If the metric has nothing to do with the alarm, a window's nearest neighbours carry its own label
as often as chance has it (Schilling, 1986; Henze, 1988):

    T  = share of the r nearest neighbours with the same label, over all N windows
    mu = p^2 + q^2,  sigma^2 = p q (1 + 4 p q),  p and q the samples' shares
    z  = (T - mu) / sigma * sqrt(r N)      related iff z > 1.96

Only z above zero counts: neighbours that avoid their own label say nothing about an alarm. What is
related is ranked by information-gain ratio over ten bins of equal width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEIGHBOURS = 10
_BINS = 10
_CRITICAL = 1.96
_OTHERS = 3
"""Random windows for each alarm. With one, what is found depends on which were drawn; with six, the
test says related twice as often by chance as it promises."""


@dataclass(frozen=True)
class Related:
    """One metric's relation to the alarm."""

    metric: str
    z: float
    related: bool
    gain_ratio: float
    windows: int
    """The number of windows before alarms that could be used."""


def associate(
    metrics: Mapping[str, Floats],
    alarms: Sequence[int],
    *,
    window: int = 5,
    neighbours: int = _NEIGHBOURS,
    seed: int = 0,
) -> list[Related]:
    """Every metric's relation, related ones first, by gain ratio.

    Args:
        metrics: values at equal steps, all of one length; NaN where there is none.
        alarms: positions at which the alarm began.
        window: points before an alarm that are looked at.
        neighbours: r.
        seed: of the random windows.

    Raises:
        ValueError: for series of different lengths.
    """
    lengths = {len(values) for values in metrics.values()}
    if len(lengths) > 1:
        raise ValueError(f"series of different lengths: {sorted(lengths)}")
    size = lengths.pop() if lengths else 0
    ends = np.unique([at for at in alarms if window <= at <= size])
    others = _random_ends(size, ends, window, np.random.default_rng(seed))
    found = [
        _one(name, values, ends, others, window, neighbours) for name, values in metrics.items()
    ]
    return sorted(found, key=lambda r: (not r.related, -r.gain_ratio, -r.z))


def statistic(before: Floats, others: Floats, neighbours: int) -> float:
    """The test's z for two samples of windows, shapes (n, w) and (m, w); 0 when there are too few.

    Distances are Euclidean; ties are broken by position, which is blind to the labels once the
    windows are shuffled.
    """
    size = len(before) + len(others)
    r = min(neighbours, size - 1)
    if len(before) < 2 or len(others) < 2 or r < 1:  # noqa: PLR2004 - a sample of one has no neighbour
        return 0.0
    order = np.random.default_rng(len(before)).permutation(size)
    points = np.vstack([before, others])[order]
    labels = (np.arange(size) < len(before))[order]
    square = (points**2).sum(axis=1)
    distance = square[:, None] + square[None, :] - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    nearest = np.argpartition(distance, r - 1, axis=1)[:, :r]
    share = float((labels[nearest] == labels[:, None]).mean())
    p = len(before) / size
    q = 1 - p
    sigma = np.sqrt(p * q * (1 + 4 * p * q))
    return float((share - (p * p + q * q)) / sigma * np.sqrt(r * size))


def gain_ratio(values: Floats, labels: NDArray[np.bool_], bins: int = _BINS) -> float:
    """Information about the label in the value's bin, over the bins' own entropy; 0 to 1."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return 0.0
    bin_of = np.minimum(((values - low) / (high - low) * bins).astype(int), bins - 1)
    split = _entropy(np.bincount(bin_of, minlength=bins))
    inside = 0.0
    for number in np.unique(bin_of):
        chosen = labels[bin_of == number]
        inside += len(chosen) / len(labels) * _entropy(np.bincount(chosen, minlength=2))
    gain = _entropy(np.bincount(labels, minlength=2)) - inside
    return max(0.0, gain / split) if split > 0 else 0.0


def _one(
    name: str,
    values: Floats,
    ends: NDArray[np.int64],
    others: NDArray[np.int64],
    window: int,
    neighbours: int,
) -> Related:
    before, random = _windows(values, ends, window), _windows(values, others, window)
    spread = np.nanstd(values) if np.isfinite(values).any() else 0.0
    if len(before) < 2 or len(random) < 2 or spread <= 0:  # noqa: PLR2004 - as above
        return Related(name, 0.0, related=False, gain_ratio=0.0, windows=len(before))
    centre = np.nanmean(values)
    before, random = (before - centre) / spread, (random - centre) / spread
    z = statistic(before, random, neighbours)
    both = np.vstack([before, random])
    labels = np.arange(len(both)) < len(before)
    # A level that is unusual, or a movement that is.
    level, movement = both.mean(axis=1), both[:, -1] - both[:, 0]
    ratio = max(gain_ratio(level, labels), gain_ratio(movement, labels))
    return Related(name, z, related=z > _CRITICAL, gain_ratio=ratio, windows=len(before))


def _random_ends(
    size: int, ends: NDArray[np.int64], window: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Random windows, none overlapping one before an alarm."""
    free = np.ones(size + 1, dtype=np.bool_)
    free[:window] = False
    for end in ends:
        free[max(0, end - window + 1) : end + window] = False
    places = np.flatnonzero(free)
    if not len(places) or not len(ends):
        return np.empty(0, dtype=np.int64)
    return np.sort(random.choice(places, size=min(_OTHERS * len(ends), len(places)), replace=False))


def _windows(values: Floats, ends: NDArray[np.int64], window: int) -> Floats:
    if not len(ends):
        return np.empty((0, window))
    found = values[ends[:, None] + np.arange(-window, 0)[None, :]]
    return np.asarray(found[np.isfinite(found).all(axis=1)])


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
