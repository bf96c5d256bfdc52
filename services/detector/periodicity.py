"""Has a series a daily rhythm? Decided once a day from its hourly means.

1. Replace spikes: where a first difference lies outside Q1 - 1.5*IQR .. Q3 + 1.5*IQR, the value is
   filled linearly from its neighbours (missing hours are filled the same way).
2. Cut into days of 24 points and normalise: the whole stretch to mean 0 and deviation 1, so that a
   day at another level stays different from its neighbours.
3. Dynamic time warping distance (sum of absolute differences along the best path, at most
   ``band`` hours of warping) between neighbouring days. Periodic iff the largest is under
   ``limit``.

The limit, measured on seven simulated days each of 200 series (least to largest distance): sine
with noise of 0.2 of its deviation 3.8-6.4, 0.35: 6.3-10.5, 0.5: 7.5-13; linear trend 11.9-12.4;
random walk 16 and more; white noise 19-30; AR(1) with 0.8 20 and more. 10 accepts the first two
and nothing without a rhythm (the article's 3 is for data in its own unit).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from services.detector.combination import APERIODIC, PERIODIC, UNKNOWN

HOURS = 24
_CHUNK = 2048
Floats = NDArray[np.float64]


class Periodicity(BaseModel):
    """The test for a daily rhythm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: int = Field(
        7, ge=2, le=28, description="The number of days whose hourly means are compared."
    )
    min_days: int = Field(
        3,
        ge=2,
        description="With fewer whole days of history a series counts neither as periodic nor as "
        "aperiodic.",
    )
    limit: float = Field(
        10.0,
        gt=0,
        description="Days that are further apart than this distance have no common rhythm.",
    )
    band: int = Field(
        2,
        ge=0,
        le=24,
        description="The number of hours by which one day's course may be shifted against the "
        "next.",
    )
    present: float = Field(
        0.8, gt=0, le=1, description="The share of a day's hours that must have a value."
    )

    def decide(self, hourly: Floats) -> tuple[NDArray[np.int8], Floats]:
        """Kinds (n,) and largest distances (n,) from hourly means (n, days*24), NaN = missing.

        Only whole days from the first that has a value count. A series that does not move at all
        has no rhythm (distance infinite).
        """
        kinds = np.full(len(hourly), UNKNOWN, dtype=np.int8)
        distances = np.full(len(hourly), np.nan)
        first = np.where(
            np.isnan(hourly).all(axis=1), hourly.shape[1], np.argmax(~np.isnan(hourly), axis=1)
        )
        whole = (hourly.shape[1] - first) // HOURS
        for days in np.unique(whole[whole >= self.min_days]):
            rows = np.flatnonzero(whole == days)
            for start in range(0, len(rows), _CHUNK):
                some = rows[start : start + _CHUNK]
                kinds[some], distances[some] = self._decide(hourly[some, -int(days) * HOURS :])
        return kinds, distances

    def _decide(self, hourly: Floats) -> tuple[NDArray[np.int8], Floats]:
        enough = (~np.isnan(hourly)).mean(axis=1) >= self.present
        smooth = fill_linearly(remove_spikes(fill_linearly(hourly)))
        deviation = smooth.std(axis=1)
        moves = deviation > 1e-9 * np.maximum(1.0, np.abs(smooth).max(axis=1))
        scale = np.where(moves, deviation, 1.0)
        normal = (smooth - smooth.mean(axis=1, keepdims=True)) / scale[:, None]
        days = normal.reshape(len(hourly), -1, HOURS)
        largest = dtw(days[:, :-1], days[:, 1:], self.band).max(axis=1)
        largest = np.where(moves, largest, np.inf)
        kinds = np.where(largest < self.limit, PERIODIC, APERIODIC)
        return (
            np.where(enough, kinds, UNKNOWN).astype(np.int8),
            np.where(enough, largest, np.nan),
        )


def fill_linearly(series: Floats) -> Floats:
    """Replace NaN by linear interpolation between neighbours (rows; ends take the nearest)."""
    filled = series.copy()
    place = np.arange(series.shape[1])
    for row in np.flatnonzero(np.isnan(series).any(axis=1)):
        known = ~np.isnan(series[row])
        if known.any():
            filled[row] = np.interp(place, place[known], series[row][known])
    return filled


def remove_spikes(series: Floats) -> Floats:
    """NaN where a value is reached by an outlying first difference and left by an opposite one.

    A step that stays is a change of level and not a spike: only its return makes it one.
    """
    steps = np.diff(series, axis=1)
    low, high = np.quantile(steps, [0.25, 0.75], axis=1)
    reach = 1.5 * (high - low)
    up = steps > (high + reach)[:, None]
    down = steps < (low - reach)[:, None]
    spikes = np.zeros(series.shape, dtype=np.bool_)
    spikes[:, 1:-1] = (up[:, :-1] & down[:, 1:]) | (down[:, :-1] & up[:, 1:])
    return np.where(spikes, np.nan, series)


def dtw(a: Floats, b: Floats, band: int) -> Floats:
    """Dynamic time warping distances (..., ) of curves (..., m): cost = sum of abs differences."""
    points = a.shape[-1]
    shape = a.shape[:-1]
    previous = [np.full(shape, np.inf) for _ in range(points + 1)]
    previous[0] = np.zeros(shape)
    for i in range(points):
        current = [np.full(shape, np.inf) for _ in range(points + 1)]
        for j in range(max(0, i - band), min(points, i + band + 1)):
            best = np.minimum(np.minimum(previous[j], previous[j + 1]), current[j])
            current[j + 1] = np.abs(a[..., i] - b[..., j]) + best
        previous = current
    return previous[points]
