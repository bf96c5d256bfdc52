"""Combines forecasts: weights from backtests, and bounds.

A forecaster weighs as its backtest's mean absolute error to the power of minus ``preference``. At 0
all weigh the same, at infinity the best alone speaks; between them, weights are shrunk towards
equal ones the more alike the errors are. The best of a handful on a few origins is mostly the
luckiest; what is about as good errs in other ways, and the mean of both errs less than either.
"""

from __future__ import annotations

import numpy as np

from services.predictor.forecasters.base import Floats

_MIN_WEIGHT = 0.02
"""A forecaster that weighs less is left out: it costs as much time as the others."""
_EXACT = 1e-9
"""Share of a series' size below which an error is none."""


def weights_of(errors: Floats, size: Floats, preference: float) -> Floats:
    """Weights (members, series), 1 in sum for each series, 0 for a member that did not speak.

    ``errors``: (members, series, origins), NaN where a member could not speak; from an origin
    where only some spoke, the others count as the worst of them. ``size``: (series,), that of the
    values. All weights of a series are 0 where nobody spoke.
    """
    spoke = np.isfinite(errors)
    silent = ~spoke.any(axis=2)
    worst = np.where(spoke, errors, -np.inf).max(axis=0)
    known = np.isfinite(worst)
    full = np.where(spoke, errors, np.where(known, worst, 0.0))
    mean = full.sum(axis=2) / np.maximum(known.sum(axis=1), 1)
    mean = np.where(silent, np.inf, mean + _EXACT * np.maximum(size, _EXACT))
    best = mean.min(axis=0)
    with np.errstate(invalid="ignore"):
        weights = np.where(silent, 0.0, (best / mean) ** preference)
    for _ in range(2):
        weights /= np.maximum(weights.sum(axis=0), _EXACT)
        weights[weights < _MIN_WEIGHT] = 0.0
    return np.asarray(weights / np.maximum(weights.sum(axis=0), _EXACT))


def combined(curves: Floats, weights: Floats) -> Floats:
    """The weighted mean (series, 3, horizon) of ``curves`` (members, series, 3, horizon).

    Members that could not speak (NaN) leave their weight to the others; NaN where none could.
    """
    able = np.asarray(np.isfinite(curves).all(axis=(2, 3)))
    given = np.where(able, weights, 0.0)
    total = given.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (given / total)[:, :, None, None]
    known = np.where(able[:, :, None, None], curves, 0.0)
    return np.asarray((known * share).sum(axis=0))


def bounded(curves: Floats, values: Floats) -> Floats:
    """``curves`` (series, 3, horizon) kept where ``values`` (series, points) can lead.

    Beyond the history's extremes lies at most its span, and twice what it grew by a step on
    average for each step ahead: no forecast climbs to many times the largest value ever seen.
    """
    low, high = values.min(axis=1), values.max(axis=1)
    span = (high - low)[:, None]
    room = span * (1.0 + 2.0 * np.arange(1, curves.shape[2] + 1) / values.shape[1])
    room = room[:, None]
    return np.clip(curves, low[:, None, None] - room, high[:, None, None] + room)
