"""The newest three points of a series, as some of Skyline's algorithms judge their mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors.base import Bools, Floats, Tick
from shared.columns import Column, Columns

_BEFORE = 2
_TINY = 1e-9
"""Share of the level below which a difference is the rounding of a mean."""

COLUMNS = [Column("last", np.float64, 0, (_BEFORE,)), Column("run", np.int8)]
"""The two points before, and how many of them there are since the last gap."""


def mean(state: Columns, tick: Tick) -> tuple[Floats, Bools]:
    """Mean (n,) of the point and the two before it, and whether there are two without a gap."""
    last = state["last"][tick.rows]
    whole = (state["run"][tick.rows] >= _BEFORE) & ~tick.broken
    found: Floats = (last[:, 0] + last[:, 1] + tick.values) / 3
    return found, whole


def keep(state: Columns, tick: Tick) -> None:
    """Make the points the newest."""
    last, run = state["last"], state["run"]
    last[tick.rows, 0] = last[tick.rows, 1]
    last[tick.rows, 1] = tick.values
    run[tick.rows] = np.where(tick.broken, 1, np.minimum(run[tick.rows] + 1, _BEFORE))


def beyond(away: Floats, limit: NDArray[np.float64], level: Floats) -> Bools:
    """Marks distances beyond ``limit`` by more than rounding."""
    with np.errstate(invalid="ignore"):
        found: Bools = np.abs(away) > np.maximum(limit, _TINY * np.abs(level))
    return found
