"""Rolling backtests: the errors of each forecaster on the series' own past.

From each of several origins, up to a horizon apart, every forecaster forecasts what came next from
what was known before. All series of one length are one table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.predictor.combination import bounded
from services.predictor.forecasters import Forecaster
from services.predictor.forecasters.base import Floats
from services.predictor.regime import at_present_pace

_MIN_SHARE = 0.4
"""The share of a history that is left to forecast from at the first origin."""
_HORIZONS, _REACH = 4, 6
"""A history of so many horizons is backtested over the whole horizon, a shorter one over a share of
it: that leaves enough of it for the first origins."""


@dataclass(frozen=True)
class Backtest:
    """The forecasts from the origins, latest first, and the values that came."""

    curves: Floats
    """(forecasters, series, origins, 3, steps): means and bounds; NaN where one cannot speak."""
    actual: Floats
    """(series, origins, steps); NaN where nothing was measured."""

    @property
    def errors(self) -> Floats:
        """Mean absolute errors of the means: (forecasters, series, origins), NaN if unknown."""
        misses = np.abs(self.curves[:, :, :, 0] - self.actual)
        known = np.isfinite(self.actual)
        counts = known.sum(axis=2)
        total = np.where(known, misses, 0.0).sum(axis=3)
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def backtest(
    forecasters: Sequence[Forecaster],
    table: Floats,
    horizon: int,
    season: int,
    origins: int,
    *,
    paced: bool = False,
) -> Backtest:
    """Forecast the latest ``origins`` spans of ``table`` (series, points), NaN in its gaps.

    Short histories are forecast by less than a horizon, and from origins that lie closer.
    ``paced``: what is known at an origin is brought to the pace of that moment.
    """
    points = table.shape[1]
    whole = points >= _HORIZONS * horizon
    reach = horizon if whole else max(1, points // _REACH)
    latest, least = points - reach, math.ceil(_MIN_SHARE * points)
    closest = (latest - least) // max(1, origins - 1)
    apart = max(1, min(reach, closest)) if whole else reach
    cuts = [cut for cut in range(latest, 0, -apart) if cut >= least][:origins]
    curves = np.full((len(forecasters), len(table), len(cuts), 3, reach), np.nan)
    actual = np.empty((len(table), len(cuts), reach))
    for at, cut in enumerate(cuts):
        actual[:, at] = table[:, cut : cut + reach]
        known = carried(table[:, :cut])
        known = at_present_pace(known, season) if paced else known
        for number, forecaster in enumerate(forecasters):
            if forecaster.least_points(season) <= cut:
                made = forecaster.curves(known, reach, season)
                curves[number, :, at] = bounded(made, known)
    return Backtest(curves, actual)


def carried(values: Floats) -> Floats:
    """Fill gaps linearly, and a gap at the end by the last value, without using later values."""
    gaps = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(gaps):
        return values
    values, steps = values.copy(), np.arange(values.shape[1])
    for row in gaps:
        known = np.flatnonzero(np.isfinite(values[row]))
        values[row] = np.interp(steps, known, values[row, known])
    return values
