"""Classifies series as stable or volatile, and finds clean-ups that are not a trend.

The rule, in order: an override of the item; a constant series is stable; a straight line that
explains at least 60 % of the variance makes it stable; a mean day that explains at least 60 % (of
three days or more) makes it volatile; else the catalogue's word for the item.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from services.predictor.forecasters.base import Floats, Forecast, unit_of
from shared.items import ITEMS, Behaviour

_SHARE = 0.6
_SEASONS = 3
_CLEAN_UP_STEPS = 4.0
_CLEAN_UP_SHARE = 0.03
_RHYTHM = 3
_RHYTHM_SLACK = 0.25


@dataclass(frozen=True)
class Kind:
    """The classification and its basis."""

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
    values = values / unit_of(values)
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    centered = values - values.mean()
    total = float(centered @ centered)
    return float((steps @ centered) ** 2 / (steps @ steps) / total) if total else 0.0


def season_share(values: Floats, season: int) -> float:
    """Share of variance the mean season explains, 0 to 1; 0 below three seasons."""
    seasons = len(values) // season
    if seasons < _SEASONS:
        return 0.0
    table = (values / unit_of(values))[-seasons * season :].reshape(seasons, season)
    total = float(table.var())
    return float(table.mean(axis=0).var() / total) if total else 0.0


@dataclass(frozen=True)
class CleanUps:
    """The traces of log rotation and the like in a history."""

    levelled: Floats
    """The history as if nothing had been cleaned up."""
    count: int
    fall: float = 0.0
    """The amount a clean-up takes away, in the item's unit, always positive."""
    next_in: float | None = None
    """Steps until the next one is due; None: they have no rhythm."""
    every: float = 0.0
    """Steps from one to the next, where they have a rhythm."""


def clean_ups_of(values: Floats, threshold: float, *, above: bool) -> CleanUps:
    """The clean-ups of a history, oldest first, NaN where nothing was measured.

    A clean-up (log rotation) is a step away from the threshold of more than 4 times the median
    step and 3 % of the threshold. What was before is shifted by it: the pace before still tells
    the pace after, and the fall itself is no trend. NaN stay NaN. Three or more at nearly equal
    distances have a rhythm: the next is expected when it is due.
    """
    from services.predictor.kernels.levelling import level

    levelled, times = np.empty(len(values)), np.empty(len(values), np.int64)
    least = _CLEAN_UP_SHARE * abs(threshold)
    count, fall = level(values, 1.0 if above else -1.0, least, _CLEAN_UP_STEPS, levelled, times)
    if not count:
        return CleanUps(values, 0)
    times = times[:count]
    gaps = np.diff(times)
    if count < _RHYTHM or np.abs(gaps - np.median(gaps)).max() > _RHYTHM_SLACK * np.median(gaps):
        return CleanUps(levelled, count, fall)
    every = float(np.median(gaps))
    since = float(len(values) - 1 - times[-1])
    # One that is overdue has lost its rhythm.
    if since > every * (1 + _RHYTHM_SLACK):
        return CleanUps(levelled, count, fall)
    return CleanUps(levelled, count, fall, max(1.0, every - since), every)


def possible(forecast: Forecast, item: str) -> Forecast:
    """The forecast within the bounds of the item's values, where the catalogue has any."""
    known = ITEMS.get(item)
    return forecast.within(known.minimum, known.maximum) if known else forecast


def after_clean_ups(forecast: Forecast, found: CleanUps, *, above: bool) -> Forecast:
    """The forecast with the clean-ups that are due taken off; the same where there is no rhythm."""
    if found.next_in is None:
        return forecast
    ahead = np.arange(1, len(forecast.mean) + 1)
    due = np.where(ahead >= found.next_in, 1 + (ahead - found.next_in) // found.every, 0)
    off = due * found.fall * (1.0 if above else -1.0)
    why = forecast.why | {"clean_up_every": f"{found.every:g} steps, takes {found.fall:.4g}"}
    return replace(forecast.minus(off), why=why)
