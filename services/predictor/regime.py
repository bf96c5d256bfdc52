"""Histories as if they had always been as they are now.

A model of the whole history mixes what was with what is, and no backtest tells, as none began
after the change. So what was is brought to the present, as it is before a clean-up, and all
forecasters see one regime; rhythm and noise are kept:

- one or two peaks that were gone at once are filled, and one or two steps that lasted are levelled:
  accidents, from which no model should learn a variance or a trend;
- in stable series, what was before a change of pace is shifted to the present pace: a disk that
  grows since Tuesday three times as fast as before is full three times as soon. What swings has a
  level, and no pace.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.predictor.forecasters.base import CannotForecast, Floats, filled, scaled, unit_of


def without_accidents(values: Floats) -> Floats:
    """``values`` (series, points), finite, without rare peaks and lasting steps."""
    from services.predictor.kernels import steps

    found = np.array(values, dtype=np.float64)
    return found if steps.without_accidents(found) else values


def at_present_pace(values: Floats, season: int) -> Floats:
    """``values`` (series, points), finite, with one pace each; the same where there is no day."""
    if season <= 1:
        return values
    from services.predictor.kernels.pace import even_paces

    evened = np.array(values, dtype=np.float64)
    even_paces(evened, season, np.zeros(len(evened), dtype=np.int64))
    return evened


def as_now(history: Floats, season: int, *, paced: bool) -> Floats:
    """One history, NaN where nothing was measured, without accidents and with one pace."""

    def change(values: Floats) -> Floats:
        values = without_accidents(values)
        return at_present_pace(values, season) if paced else values

    return _with_gaps(history, change)


def _with_gaps(history: Floats, change: Callable[[Floats], Floats]) -> Floats:
    """``change`` of a table of this history alone, in a unit of its size and without gaps."""
    values = filled(history, 1.0)
    if isinstance(values, CannotForecast):
        return history
    unit, found = float(unit_of(values)), history.astype(np.float64)
    found[len(history) - len(values) :] = scaled(change(values[None] / unit)[0], unit)
    return np.where(np.isfinite(history), found, np.nan)
