"""The machine code of ``surprise`` that knows where in a rhythm errors are larger."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of
from shared.compiled import allocation_free_kernel

Row = NDArray[Any]

_MAX_LEAN, _GAIN, _FARTHEST = 0.7, 0.002, 5.0
"""The most that errors lean from the bottom of a rhythm to its top; the gain of the slow means; the
most that one error counts, in usual ones."""


@allocation_free_kernel
def height(course: Row, pace: Row, expected: float) -> float:
    """The place in its rhythm at which a series is expected: from -1, as low as usual, to 1, as
    high.
    """
    spread = pace[of.SPREAD]
    if not spread > 0:
        return 0.0
    return float(max(-1.0, min(1.0, (expected - course[of.LEVEL]) / spread)))


@allocation_free_kernel
def lean(course: Row, pace: Row, expected: float) -> float:
    """The ratio of the errors where so much is expected to the average error.

    Counts and traffic vary most when there is most of them: one scale would take the usual at noon
    for much at night, and a fault at night for the usual at noon.
    """
    return 1.0 + float(pace[of.LEAN]) * height(course, pace, expected)


@allocation_free_kernel
def learn_lean(course: Row, pace: Row, expected: float, error: float, usual: float) -> None:
    """Learn how the errors of the best predictor differ between high and low expectations."""
    if not usual > 0:
        return
    at = height(course, pace, expected)
    more = min(abs(error) / usual, _FARTHEST) - 1.0 - pace[of.LEAN] * at
    learned = pace[of.LEAN] + _GAIN * at * more
    pace[of.LEAN] = max(-_MAX_LEAN, min(_MAX_LEAN, learned))
