"""Stable or volatile: which model a series deserves, and clean-ups that are not a trend.

The rule, in order: an override of the item; a constant series is stable; a straight line that
explains at least 60 % of the variance makes it stable; a mean day that explains at least 60 % (of
three days or more) makes it volatile; else the catalogue's word for the item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.predictor.forecasters.base import Floats
from shared.items import ITEMS, Behaviour

_SHARE = 0.6
_SEASONS = 3
_CLEAN_UP_STEPS = 4.0
_CLEAN_UP_SHARE = 0.03


@dataclass(frozen=True)
class Kind:
    """The decision and what it rests on."""

    behaviour: Behaviour
    reason: str


def behaviour_of(item: str, values: Floats, season: int, override: Behaviour | None = None) -> Kind:
    """The behaviour of a series of ``item`` whose finite history is ``values``."""
    if override is not None:
        return Kind(override, "set for the item")
    if np.ptp(values) == 0:
        return Kind(Behaviour.STABLE, "constant")
    line = trend_share(values)
    if line >= _SHARE:
        return Kind(Behaviour.STABLE, f"a line explains {line:.0%} of the variance")
    day = season_share(values, season)
    if day >= _SHARE:
        return Kind(Behaviour.VOLATILE, f"the time of day explains {day:.0%} of the variance")
    known = ITEMS.get(item)
    usual = known.behaviour if known else Behaviour.VOLATILE
    return Kind(usual, f"usual for the item (line {line:.0%}, time of day {day:.0%})")


def trend_share(values: Floats) -> float:
    """Share of variance a straight line explains, 0 to 1."""
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    centered = values - values.mean()
    total = float(centered @ centered)
    return float((steps @ centered) ** 2 / (steps @ steps) / total) if total else 0.0


def season_share(values: Floats, season: int) -> float:
    """Share of variance the mean season explains, 0 to 1; 0 below three seasons."""
    seasons = len(values) // season
    if seasons < _SEASONS:
        return 0.0
    table = values[-seasons * season :].reshape(seasons, season)
    total = float(table.var())
    return float(table.mean(axis=0).var() / total) if total else 0.0


def level_after_clean_up(values: Floats, threshold: float, *, above: bool) -> tuple[Floats, int]:
    """History as if it had not been cleaned up, and how many clean-ups there were.

    A clean-up (log rotation) is a step away from the threshold of more than 4 times the median
    step and 3 % of the threshold. What was before is shifted by it: the pace before still tells
    the pace after, and the fall itself is no trend. NaN stay NaN.
    """
    known = np.flatnonzero(np.isfinite(values))
    steps = np.diff(values[known])
    if not len(steps):
        return values, 0
    least = max(_CLEAN_UP_STEPS * float(np.median(np.abs(steps))), _CLEAN_UP_SHARE * abs(threshold))
    falls = steps < -least if above else steps > least
    # The median step takes the fall's place.
    usual = float(np.median(steps[~falls])) if not falls.all() else 0.0
    shift = np.where(falls, steps - usual, 0.0)
    after = np.append(np.cumsum(shift[::-1])[::-1], 0.0)
    levelled = values.copy()
    levelled[known] += after
    return levelled, int(falls.sum())
