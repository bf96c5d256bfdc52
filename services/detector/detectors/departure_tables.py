"""The inputs and outputs of the kernel of ``surprise``: points, settings, state and verdicts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of

Row = NDArray[Any]


class Limits(NamedTuple):
    """The detector's settings, as the kernel wants them."""

    floor_absolute: float
    floor_relative: float
    alarms_per_week: float
    min_points: int
    rest_ms: float
    margin: float
    spike: bool
    drop: bool


class Points(NamedTuple):
    """The points of a tick: a row, times, value and so on of each."""

    rows: Row
    time_ms: Row
    local_ms: Row
    holiday: Row
    values: Row
    broken: Row
    floors: Row
    budgets: Row


class Verdicts(NamedTuple):
    """The verdict on every point; ``numbers`` (n, NUMBERS)."""

    numbers: Row
    judged: Row
    anomalous: Row
    direction: Row


class State(NamedTuple):
    """The columns of all series."""

    week: Row
    course: Row
    pace: Row
    tally: Row
    tops: Row
    returns: Row


class Scratch(NamedTuple):
    """Room for one point's numbers; ``codes`` are the bits of ``sizes``."""

    seasons: Row
    errors: Row
    fresh: Row
    sizes: Row
    codes: Row
    rarities: Row
    channels: Row


def scratch() -> Scratch:
    """Room for one call."""
    sizes = np.zeros(of.CHANNELS + 1, dtype=np.float32)
    return Scratch(
        np.zeros(3),
        np.zeros(9),
        np.zeros(of.PACE),
        sizes,
        sizes.view(np.int32),
        np.zeros(of.GROUPS),
        np.zeros(of.GROUPS, dtype=np.int64),
    )
