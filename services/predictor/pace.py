"""Histories as if they had always grown at their present pace.

A disk that grows since Tuesday three times as fast as before is full three times as soon. A model
of the whole history mixes both paces, and no backtest tells, as none began after the change. What
was before a change is therefore shifted, as it is before a clean-up: rhythm and noise are kept,
and all forecasters see one pace. Only stable series have a pace; what swings has a level.
"""

from __future__ import annotations

import numpy as np

from services.predictor.forecasters.base import CannotForecast, Floats, filled, scaled, unit_of


def at_present_pace(values: Floats, season: int) -> Floats:
    """``values`` (series, points), finite, with one pace each; the same where there is no day."""
    if season <= 1:
        return values
    from services.predictor.kernels.pace import even_paces

    evened = np.array(values, dtype=np.float64)
    even_paces(evened, season, np.zeros(len(evened), dtype=np.int64))
    return evened


def evened(history: Floats, season: int) -> Floats:
    """One history, NaN where nothing was measured, as ``at_present_pace`` has it."""
    values = filled(history, 1.0)
    if isinstance(values, CannotForecast):
        return history
    unit, found = float(unit_of(values)), history.astype(np.float64)
    (even,) = at_present_pace(values[None] / unit, season)
    found[len(history) - len(values) :] = scaled(even, unit)
    return np.where(np.isfinite(history), found, np.nan)
