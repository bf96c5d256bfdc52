"""Scores of one forecast: its error by several measures, and the coverage of its interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bench.forecast_sets import Case
from services.predictor.forecasters.base import NORMAL_95

Floats = NDArray[np.float64]


class Score(NamedTuple):
    """The measures of one series; NaN where one cannot be taken."""

    mase: float
    """Mean absolute error over that of seasonal naive on the history."""
    smape: float
    """Percent."""
    relative: float
    """Mean absolute error over that of seasonal naive on the same steps."""
    inside: float
    """Share of the steps within the 95 % interval."""
    crps: float
    """Continuous ranked probability score of a normal distribution, over the scale of ``mase``."""


UNKNOWN = Score(np.nan, np.nan, np.nan, np.nan, np.nan)


def score(case: Case, curves: Floats | None) -> Score:
    """The measures of ``curves`` (3, steps): mean and bounds, NaN bounds where there are none."""
    if curves is None:
        return UNKNOWN
    season = max(1, case.season)
    mean, lower, upper = curves
    scale = case.scale
    if scale is None:
        scale = float(np.abs(case.history[season:] - case.history[:-season]).mean())
    if not scale > 0:
        return UNKNOWN
    miss = np.abs(mean - case.future)
    size = np.abs(mean) + np.abs(case.future)
    shares = np.divide(miss, size, out=np.zeros_like(miss), where=size > 0)
    naive = case.history[len(case.history) - season + np.arange(len(mean)) % season]
    usual = float(np.abs(naive - case.future).mean())
    bounded = bool(np.isfinite(lower).all())
    held = (lower <= case.future) & (case.future <= upper)
    return Score(
        mase=float(miss.mean()) / scale,
        smape=float(200 * shares.mean()),
        relative=float(miss.mean()) / usual if usual > 0 else np.nan,
        inside=float(held.mean()) if bounded else np.nan,
        crps=float(_crps(miss, upper - lower).mean()) / scale if bounded else np.nan,
    )


def _crps(miss: Floats, width: Floats) -> Floats:
    """The score of a normal distribution with a 95 % interval of this width, at this distance."""
    deviation = np.maximum(width / (2 * NORMAL_95), 1e-12)
    z = miss / deviation
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    found: Floats = deviation * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return found


def summary(scores: list[Score]) -> dict[str, float]:
    """Means over the series that have each measure; of ratios the geometric one."""
    table = np.array(scores)
    found = {}
    for at, name in enumerate(Score._fields):
        known = table[np.isfinite(table[:, at]), at]
        if name == "relative":
            known = np.log(np.maximum(known, 1e-6))
        if len(known):
            mean = float(known.mean())
            found[name] = round(float(np.exp(mean)) if name == "relative" else mean, 4)
    return found
