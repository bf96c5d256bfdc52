"""The width of a combination's 95 % interval: by the errors of the backtests, and by lasting steps.

The members' own intervals suppose that their models hold. What the backtests missed, on each side
and in half widths, corrects them: an interval that is too narrow is widened, and one that held
everything with room to spare is narrowed. Where a series has jumped and stayed, the next jump may
be larger than any before.
"""

from __future__ import annotations

import numpy as np

from services.predictor.forecasters.base import Floats

_MIN_WIDENING, _MAX_WIDENING = 0.5, 10.0
"""An interval is neither narrowed nor widened by more than this."""
_SIDE = 0.975
"""The share of the values that each bound of a 95 % interval is to have on its inner side."""
_TRUST = 0.75
"""The power of the largest miss: 1 would believe a handful of backtests, 0 the models alone."""
_DOUBT = 24
"""The number of held values that say as much as the belief that an interval is right as it is."""
_EXACT = 1e-9
_STAYS = 8
"""Steps that a jump stays at least to be lasting; a season where that is longer."""


def widening_of(curves: Floats, actual: Floats) -> Floats:
    """Factors (series, 2) of the lower and the upper half widths, by what the backtests missed.

    ``curves`` (series, origins, 3, steps), ``actual`` (series, origins, steps). Errors are measured
    in half widths of their side. A factor is the larger of two: the 97.5 % quantile of its side's
    errors, and a power of the largest one, which is the conformal quantile of so few origins. Of
    that, half is its own side's and half (in logarithms) that of the worse side, as the largest of
    one side alone depends even more on luck.
    """
    mean, known = curves[:, :, 0], np.isfinite(actual)
    error = actual - mean
    side = np.where(error > 0, curves[:, :, 2] - mean, mean - curves[:, :, 1])
    side = np.maximum(side, _EXACT * np.maximum(np.abs(mean), _EXACT))
    misses = np.where(known & np.isfinite(side), error / side, 0.0).reshape(len(curves), -1)
    if not misses.shape[1]:
        return np.ones((len(curves), 2))
    sides = np.stack([-misses, misses], axis=1)
    own = np.maximum(sides.max(axis=2), 0.0)
    largest = np.sqrt(own * own.max(axis=1, keepdims=True)) ** _TRUST
    found = np.maximum(largest, np.quantile(sides, _SIDE, axis=2))
    tested = misses.shape[1]
    found = np.where(
        found < 1.0, np.maximum(found, _MIN_WIDENING) ** (tested / (tested + _DOUBT)), found
    )
    return np.asarray(
        np.where(own.any(axis=1)[:, None], np.clip(found, _MIN_WIDENING, _MAX_WIDENING), 1.0)
    )


def widened(curves: Floats, widening: Floats, reach: int) -> Floats:
    """``curves`` (series, 3, horizon), the bounds' distances from the mean times ``widening``.

    Beyond the ``reach`` steps that were backtested they grow as the root of the steps: there, what
    is missed because a pace has changed outgrows the deviation of a random walk by as much.
    """
    mean = curves[:, :1]
    growth = np.sqrt(np.maximum(1.0, np.arange(1, curves.shape[2] + 1) / reach))
    factor = widening[:, :, None] * growth
    return np.concatenate([mean, mean + factor * (curves[:, 1:] - mean)], axis=1)


def with_lasting_steps(curve: Floats, values: Floats, season: int) -> Floats:
    """``curve`` (3, horizon) with bounds that allow for one more lasting step of ``values``.

    The largest of n steps comes about once in n. That which comes in h steps with a probability of
    2.5 % is 40 h / n times as rare, and larger by about the root of that, as in distributions that
    only just have a variance. Where 40 h is below n it is more frequent, and smaller in proportion.
    """
    window, ahead = max(_STAYS, season), np.arange(1, curve.shape[1] + 1)
    if len(values) <= 2 * window:
        return curve
    from services.predictor.kernels.steps import lasting_steps

    up, down = lasting_steps(values, window)
    usual = float(values[-1] - values[0]) / (len(values) - 1)
    up, down = max(0.0, up - max(0.0, usual)), max(0.0, down + min(0.0, usual))
    rarer = ahead / (len(values) * (1 - _SIDE))
    larger = np.minimum(rarer, np.sqrt(rarer))
    mean, lower, upper = curve
    bounds = np.minimum(lower, mean - down * larger), np.maximum(upper, mean + up * larger)
    return np.stack([mean, *bounds])
