"""Rolling backtests: how wrong would each forecaster have been on the series' own past?

From each of several origins, a horizon apart, every forecaster forecasts what came next from what
was known before. All series of one length are one table, and what several forecasters share (the
members of a combination) is forecast once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from services.predictor.forecasters import Forecaster
from services.predictor.forecasters.base import Floats
from services.predictor.forecasters.combination import Combination, median_of

_LEAST_SHARE = 0.4
"""Of a history is left to forecast from at the first origin."""
_REACH = 6
"""A history is at least so many times as long as what is forecast of it."""


def backtest(
    forecasters: Mapping[str, Forecaster],
    table: Floats,
    horizon: int,
    season: int,
    origins: int,
) -> dict[str, Floats]:
    """Mean absolute error over the steps ahead, by forecaster: (series, origins), latest first.

    ``table``: (series, points), NaN where nothing was measured. An error is NaN where the
    forecaster cannot speak from that origin, or nothing was measured after it.
    """
    points = table.shape[1]
    reach = max(1, min(horizon, points // _REACH))
    cuts = [points - reach * (back + 1) for back in range(origins)]
    cuts = [cut for cut in cuts if cut >= math.ceil(_LEAST_SHARE * points)]
    found = {name: np.full((len(table), len(cuts)), np.nan) for name in forecasters}
    for at, cut in enumerate(cuts):
        actual, known = table[:, cut : cut + reach], _carried(table[:, :cut])
        counts = np.isfinite(actual).sum(axis=1)
        made: dict[Forecaster, Floats | None] = {}
        for name, forecaster in forecasters.items():
            mean = _mean(forecaster, known, reach, season, made)
            if mean is not None:
                total = np.nansum(np.abs(mean - actual), axis=1)
                able = (counts > 0) & np.isfinite(mean).all(axis=1)
                found[name][:, at] = np.where(able, total / np.maximum(counts, 1), np.nan)
    return found


def _mean(
    forecaster: Forecaster,
    values: Floats,
    horizon: int,
    season: int,
    made: dict[Forecaster, Floats | None],
) -> Floats | None:
    """The means of all rows, made once; None where the history is too short."""
    if forecaster not in made:
        if forecaster.least_points(season) > values.shape[1]:
            made[forecaster] = None
        elif isinstance(forecaster, Combination):
            parts = [_mean(p, values, horizon, season, made) for p in forecaster.parts()]
            made[forecaster] = median_of([one for one in parts if one is not None])
        else:
            made[forecaster] = forecaster.means(values, horizon, season)
    return made[forecaster]


def _carried(values: Floats) -> Floats:
    """Gaps filled linearly, one at the end by the last value: nothing later is looked at."""
    gaps = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(gaps):
        return values
    values, steps = values.copy(), np.arange(values.shape[1])
    for row in gaps:
        known = np.flatnonzero(np.isfinite(values[row]))
        values[row] = np.interp(steps, known, values[row, known])
    return values
