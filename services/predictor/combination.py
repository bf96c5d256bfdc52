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

_MAX_WIDENING = 10.0
_COVERED = 0.95
"""The share that an interval is to hold."""


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


def widening_of(curves: Floats, actual: Floats) -> Floats:
    """The factor (series,) that widens intervals, by the misses of a backtest.

    ``curves`` (series, origins, 3, steps) and ``actual`` (series, origins, steps) are those of the
    backtest; a miss is measured in half widths. The factor is the larger of two: the conformal
    quantile of all misses, which many steps must have reached, as after a change of pace; and half
    of the largest miss, in logarithms, as few origins see few bursts. No interval becomes narrower.
    """
    half = (curves[:, :, 2] - curves[:, :, 1]) / 2
    size = np.abs(np.where(np.isfinite(actual), actual, 0.0)).max(axis=(1, 2), initial=_EXACT)
    misses = np.abs(actual - curves[:, :, 0]) / (half + _EXACT * size[:, None, None])
    misses = np.where(np.isfinite(misses), misses, 0.0).reshape(len(misses), -1)
    if not misses.shape[1]:
        return np.ones(len(misses))
    widening = np.maximum(np.sqrt(misses.max(axis=1)), np.quantile(misses, _COVERED, axis=1))
    return np.asarray(np.clip(widening, 1.0, _MAX_WIDENING))


def widened(curves: Floats, widening: Floats, reach: int) -> Floats:
    """``curves`` (series, 3, horizon), the bounds' distance from the mean times ``widening``.

    Beyond the ``reach`` steps that were backtested it grows as the root of the steps: there, what
    is missed because a pace has changed outgrows the deviation of a random walk by as much.
    """
    mean = curves[:, :1]
    growth = np.sqrt(np.maximum(1.0, np.arange(1, curves.shape[2] + 1) / reach))
    factor = widening[:, None, None] * growth
    return np.concatenate([mean, mean + factor * (curves[:, 1:] - mean)], axis=1)


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
