"""The time at which a forecast reaches the alarm threshold, and its range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.predictor.forecasters.base import Floats, Forecast


@dataclass(frozen=True)
class Crossing:
    """The crossing, in steps after the last point (including fractions)."""

    mean: float
    earliest: float
    latest: float | None
    """None: the further bound does not cross within the horizon."""


def crossing_of(
    last: float, forecast: Forecast, threshold: float, *, above: bool
) -> Crossing | None:
    """The crossing of the mean within the horizon, or None."""
    sign = 1.0 if above else -1.0
    near, far = (forecast.upper, forecast.lower) if above else (forecast.lower, forecast.upper)
    mean = _first(sign * last, sign * forecast.mean, sign * threshold)
    if mean is None:
        return None
    earliest = _first(sign * last, sign * near, sign * threshold)
    latest = _first(sign * last, sign * far, sign * threshold)
    return Crossing(mean, mean if earliest is None else earliest, latest)


def _first(last: float, curve: Floats, threshold: float) -> float | None:
    reached = np.flatnonzero(curve >= threshold)
    if not len(reached):
        return None
    at = int(reached[0])
    before = last if at == 0 else float(curve[at - 1])
    rise = float(curve[at]) - before
    part = (threshold - before) / rise if rise > 0 else 0.0
    return at + min(1.0, max(0.0, part))
