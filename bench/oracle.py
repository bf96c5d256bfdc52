"""An upper bound: a test that knows the series' truth and the kind of fault.

It is given the clean course and the noise's deviation, and only waits for the one kind of fault.
Its threshold is the one that it passes as often as the budget allows on series without faults.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bench.scorers import opened_at
from bench.synthetic import DAY, Floats, Made

_WINDOWS = (1, 6, 36, 144)


def _means(residual: Floats, window: int) -> Floats:
    """Mean of the newest ``window`` points at every point."""
    padded = np.concatenate([np.zeros(window - 1), residual])
    found: Floats = sliding_window_view(padded, window).mean(axis=-1)
    return found


def residual_of(values: Floats, one: Made) -> Floats:
    """The values without their clean course, in deviations of the noise."""
    left = (values - one.clean) / one.sigma
    return np.diff(left, prepend=0.0) if one.walk else left


def statistic(fault: str, values: Floats, one: Made) -> Floats:
    """The oracle's score of every point."""
    left = residual_of(values, one)
    if fault == "stuck":
        same = np.diff(values, prepend=np.nan) == 0
        places = np.arange(len(values))
        return (places - np.maximum.accumulate(np.where(same, 0, places))).astype(np.float64)
    if fault in ("more noise", "less noise"):
        size = np.log(np.abs(left) + 1e-3)
        sign = 1 if fault == "more noise" else -1
        # A day of a bursty series tells more than an hour of it.
        return sign * (_means(size, 36) - size[: 3 * DAY].mean())
    if fault == "frequency":
        # It does not know when the faster course began, so not its phase: the energy must do.
        return _means(left * left, 36)
    if fault == "pattern missing":
        course = one.clean - one.clean.min()
        weights = [np.sqrt(_means(course * course, w) * w + 1e-12) for w in (36, 144)]
        sums = [-w * _means(left * course, w) for w in (36, 144)]
        return np.maximum.reduce([s / w for s, w in zip(sums, weights, strict=True)])
    return _away(fault, left)


def _away(fault: str, left: Floats) -> Floats:
    """Return how far the newest points lie from the clean course, the way that the fault goes."""
    if fault in ("spike", "dip"):
        sign = 1 if fault == "spike" else -1
        return np.maximum.reduce([sign * np.sqrt(w) * _means(left, w) for w in (1, 3)])
    return np.maximum.reduce([np.abs(np.sqrt(w) * _means(left, w)) for w in _WINDOWS])


def threshold(fault: str, usual: list[Made], budget: float) -> float:
    """The score that opens ``budget`` episodes a week on series without faults."""
    scores = [statistic(fault, one.values, one)[3 * DAY :] for one in usual]
    weeks = sum(len(score) for score in scores) / (7 * DAY)
    wanted = budget * weeks
    ranked = np.unique(np.concatenate(scores))[::-1]
    low, high = 0, len(ranked) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if sum(len(opened_at(score > ranked[middle])) for score in scores) <= wanted:
            low = middle
        else:
            high = middle - 1
    return float(ranked[low])
