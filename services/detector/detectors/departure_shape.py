"""The machine code of ``surprise`` that names what was told: which way, and a rhythm left out."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of
from shared.compiled import allocation_free_kernel

Row = NDArray[Any]

UNWANTED = 2
"""The way of a departure that the settings do not want told."""
MISSING = of.CHANNELS
"""Said instead of a channel: what a rhythm leaves out."""
_RHYTHMS, _KNOWN_SLOTS = 3, 8
"""Predictors from here on know a rhythm; slots of the day that make one."""
_PEAK_SHARE, _PEAK_USUAL, _AT_REST, _MOSTLY_LOW = 0.5, 4.0, 0.25, 0.6
"""A peak is half the rhythm's span away from rest; what is at rest comes back all but a quarter."""


@allocation_free_kernel
def way(where: int, z: float, three: float, fresh: Row, spike: bool, drop: bool) -> int:
    """1 up, -1 down, 0 neither, or ``UNWANTED``.

    Where three points decide and the last of them is no departure, the other two say which way.
    """
    lean = z
    if where in (of.THREE, of.SCORE):
        lean = three if abs(z) < 1 else z
    elif of.HOUR <= where <= of.DAY:
        lean = fresh[of.MEANS + where - of.HOUR]
    elif where >= of.LOUD:
        return 0 if spike and drop else UNWANTED
    if (lean > 0 and not spike) or (lean < 0 and not drop):
        return UNWANTED
    return 1 if lean > 0 else -1


@allocation_free_kernel
def missing(slots: Row, value: float, expected: float, usual: float) -> bool:
    """Return whether the value rests where the rhythm should be away from its rest, at its peak.

    The rhythm rests at its least value, or at its largest where it is mostly near that: a backup
    makes the idle share fall.
    """
    lowest, highest, total, known = math.inf, -math.inf, 0.0, 0
    for at in range(len(slots)):
        if not math.isnan(slots[at]):
            lowest, highest = min(lowest, slots[at]), max(highest, slots[at])
            total += slots[at]
            known += 1
    if known < _KNOWN_SLOTS:
        return False
    span = highest - lowest
    rests = lowest if total / known <= lowest + _MOSTLY_LOW * span else highest
    height = abs(expected - rests)
    return bool(
        height > 0
        and height >= max(_PEAK_SHARE * span, _PEAK_USUAL * usual)
        and abs(value - rests) <= _AT_REST * height
    )


@allocation_free_kernel
def shape(where: int, pace: Row, slots: Row, value: float, expected: float, best: int) -> int:
    """The channel that decided, or ``MISSING`` where it saw what a rhythm left out."""
    if best < _RHYTHMS or where in (of.STILL, of.QUIET):
        return where
    usual = of.usual(pace, best)
    return MISSING if missing(slots, value, expected, usual) else where
