"""The machine code of ``surprise`` that begins and ends episodes, within the false-alarm budget."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_blocks as blocks
from services.detector.detectors import departure_kernel as of
from shared.compiled import allocation_free_kernel

Row = NDArray[Any]

_WEEK_MS = 604_800_000
_SHIFT, _MAX_SHIFT = 1.0, 2.0
_A_FEW, _TOO_OFTEN = 2, 6.0
"""Alarms of any series, and times its budget, beyond which alarms are a habit."""
_HALF = 0.7
"""Nats: half as rare."""
_ANOTHER = 4.0
"""Nats by which something is rarer than the alarm before, to be told although that one rests."""


@allocation_free_kernel
def control(
    pace: Row, tally: Row, onset: bool, weekly: float, step_ms: float, age_ms: float
) -> bool:
    """Shift the threshold up with every alarm, and down with the time that the budget gives it.

    Returns whether the series has had so many alarms that they are its habit.
    """
    trust = tally[of.BLOCKS] / (tally[of.BLOCKS] + blocks.TRUST_BLOCKS)
    pull = _SHIFT * trust * trust
    shift = pace[of.SHIFT] - pull * weekly * min(step_ms, 3_600_000.0) / _WEEK_MS
    if onset:
        shift += pull
    pace[of.SHIFT] = max(-_MAX_SHIFT, min(_MAX_SHIFT, shift))
    tally[of.TOLD] = min(tally[of.TOLD] + (1 if onset else 0), 1_000_000_000)
    return bool(tally[of.TOLD] > _A_FEW + _TOO_OFTEN * weekly * age_ms / _WEEK_MS)


@allocation_free_kernel
def speak(
    course: Row,
    pace: Row,
    tally: Row,
    rarest: float,
    passes: float,
    time_ms: int,
    rest_ms: float,
) -> tuple[bool, bool]:
    """Return whether an episode begins with this point, and whether one is going on."""
    if rarest < passes:
        # Under a large budget the threshold is near what is usual: half of it is never left.
        return False, tally[of.FIRING] > 0 and rarest >= max(passes / 2, passes - _HALF)
    # Within the rest it is the same episode; one that has ended does not begin again, unless what
    # comes then is another matter: an outage is not hidden by the false alarm of an hour before.
    resting = time_ms - course[of.TOLD_MS] <= rest_ms
    other = tally[of.FIRING] == 0 and rarest > pace[of.PEAK] + _ANOTHER
    return other or not resting, tally[of.FIRING] > 0


@allocation_free_kernel
def rest(
    course: Row, pace: Row, rarest: float, time_ms: int, rest_ms: float, margin: float
) -> None:
    """Let the rest begin, or begin again with what is clearly rarer."""
    resting = time_ms - course[of.TOLD_MS] <= rest_ms
    if not resting or rarest > pace[of.PEAK] + margin:
        course[of.TOLD_MS], pace[of.PEAK] = time_ms, rarest
