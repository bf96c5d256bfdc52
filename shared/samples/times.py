"""Distinguishes times in milliseconds from times in other units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_TIME_MS = 253_402_300_799_999
"""The end of the year 9999."""
_SECONDS = (10**8, 10**11)
"""From 1973 to 5138 if in seconds; in milliseconds from 1970 to 1973, when nobody measured."""
_UNITS = ((10**15, "microseconds"), (10**18, "nanoseconds"))


def in_no_calendar(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the times that no contract can carry."""
    return np.asarray((times < 0) | (times > MAX_TIME_MS))


def no_milliseconds(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks a sender's invalid times: outside of the calendar, or Unix times in seconds."""
    seconds = (times >= _SECONDS[0]) & (times < _SECONDS[1])
    return np.asarray(in_no_calendar(times) | seconds)


def fault_of(time: int) -> str:
    """The fault of a time that is none, with the unit it looks like."""
    # A machine without a clock of its own begins in 1970.
    unit = "seconds, or a clock in 1970 to 1973" if _SECONDS[0] <= time < _SECONDS[1] else ""
    for least, name in _UNITS:
        unit = name if time >= least else unit
    hint = f"; it looks like {unit}" if unit else ""
    return f"{time} is not a Unix time in ms{hint}"
