"""The probability of reaching the threshold, and the likely time range.

Three estimates of the distribution of the time of first passage, by step ahead:

- ``brownian``: a Brownian motion with the drift and variance of the present regime, whose first
  passage is inverse Gaussian: ``P(T<=t) = N((m*t-a)/(s*sqrt(t))) + exp(2*m*a/s^2) *
  N((-m*t-a)/(s*sqrt(t)))`` for the distance a.
- ``empirical``: the share of the history's moments from which it rose by the distance within t.
- ``paths``: Gaussian paths around the forecast whose variance grows as its interval does.

Volatile series return to their level, which neither of the first two knows: for them the paths
alone speak. For stable ones the answer is the mean of the three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.predictor.forecasters.base import Floats, Forecast, unit_of
from services.predictor.regime import as_now

_PATHS = 200
_SEED = 11
_SPANS = 4
_LIKELY_FROM, _LIKELY_UNTIL = 0.1, 0.9
_MIN_EXPONENT = -700.0


@dataclass(frozen=True)
class Passage:
    """The distribution of the time of first passage, up to the horizon."""

    reached: Floats
    """P(reached within k+1 steps), by k: never falls."""
    parts: Mapping[str, float]
    """The estimates of ``probability``, by method."""

    @property
    def probability(self) -> float:
        """The probability of reaching the threshold within the horizon."""
        return float(self.reached[-1])

    def quantile(self, share: float) -> float:
        """Steps by which ``share`` of the probability has come, with fractions."""
        curve = np.concatenate([[0.0], self.reached])
        wanted = share * self.probability
        at = int(np.searchsorted(curve, wanted))
        if at == 0:
            return 0.0
        rise = float(curve[at] - curve[at - 1])
        return at - 1 + (float(wanted - curve[at - 1]) / rise if rise > 0 else 1.0)

    @property
    def likely(self) -> tuple[float, float]:
        """Steps between which the middle 80 % of the probability lies."""
        return self.quantile(_LIKELY_FROM), self.quantile(_LIKELY_UNTIL)


def passage_of(
    history: Floats,
    forecast: Forecast,
    threshold: float,
    *,
    above: bool,
    stable: bool,
    drifts: bool = True,
    season: int = 1,
) -> Passage:
    """First passage of a finite ``history`` whose last value is within the threshold.

    ``drifts``: whether its steps go on as they were; not so where clean-ups have a rhythm.
    ``season``: the steps of a day, where they are known.
    """
    # In a unit of the history's size, so that no square of a value is too large or too small.
    sign, unit = (1.0 if above else -1.0), float(unit_of(history))
    horizon = len(forecast.mean)
    values = sign * history / unit
    limit = sign * threshold / unit
    deviation = forecast.deviation(above=above) / unit
    found = {"paths": over_paths(sign * forecast.mean / unit, deviation, limit)}
    if stable:
        distance = max(0.0, limit - float(values[-1]))
        if drifts:
            now = as_now(history, season, paced=True)
            found["brownian"] = brownian(sign * now / unit, distance, horizon)
        if len(values) > _SPANS * horizon:
            found["empirical"] = empirical(values, distance, horizon)
    reached = np.maximum.accumulate(np.mean(list(found.values()), axis=0))
    return Passage(reached, {name: float(curve[-1]) for name, curve in found.items()})


def brownian(values: Floats, distance: float, horizon: int) -> Floats:
    """P(a rise of ``distance`` within 1..horizon steps) of a Brownian motion with drift."""
    from scipy.special import log_ndtr, ndtr

    steps = np.diff(values)
    drift, deviation = float(steps.mean()), float(steps.std())
    ahead = np.arange(1.0, horizon + 1)
    if deviation <= 1e-9 * max(1.0, abs(drift)):
        return np.asarray(drift * ahead >= distance, dtype=np.float64)
    root = deviation * np.sqrt(ahead)
    direct = ndtr((drift * ahead - distance) / root)
    exponent = 2 * drift * distance / deviation**2 + log_ndtr((-drift * ahead - distance) / root)
    second = np.exp(np.clip(exponent, _MIN_EXPONENT, 0.0))
    return np.asarray(np.minimum(1.0, direct + second))


def empirical(values: Floats, distance: float, horizon: int) -> Floats:
    """Share of the history's moments that were followed by such a rise within 1..horizon steps."""
    from services.predictor.kernels.first_passage import (
        share_of_moments,
    )

    return share_of_moments(values, distance, horizon)


def over_paths(mean: Floats, deviation: Floats, limit: float) -> Floats:
    """P(a path of the forecast has reached ``limit``), by step.

    Paths are sums of independent steps whose variances are the growth of the forecast's.
    """
    from services.predictor.kernels.first_passage import (
        share_of_paths,
    )

    variance = np.maximum.accumulate(deviation**2)
    growth = np.sqrt(np.diff(variance, prepend=0.0))
    return share_of_paths(mean, growth, _normal(len(mean)), limit)


@lru_cache(maxsize=8)
def _normal(horizon: int) -> NDArray[np.float64]:
    """The same random numbers for every series, each with its opposite."""
    half = np.random.default_rng(_SEED).normal(size=(_PATHS // 2, horizon))
    return np.concatenate([half, -half])
