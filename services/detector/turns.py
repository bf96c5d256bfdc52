"""Orders the points of a batch for judging, and counts the outcome of all samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Series, times and values."""


@dataclass
class Counts:
    """The outcomes of the samples, since the engine was made."""

    judged: int = 0
    not_judged: int = 0
    late: int = 0
    stale: int = 0
    invalid: int = 0
    refused: int = 0


def in_order(points: Points, newest_ms: NDArray[np.int64], counts: Counts) -> Points:
    """The new points by series and time, each time once; the others are counted as late.

    Args:
        points: in any order.
        newest_ms: the newest point that each point's series has had.
        counts: what became of samples.
    """
    rows, times, values = points
    fresh = times > newest_ms
    counts.late += int(len(fresh) - fresh.sum())
    if not (fresh.all() and (rows[1:] > rows[:-1]).all()):
        order = np.lexsort((times, rows))
        order = order[fresh[order]]
        rows, times, values = rows[order], times[order], values[order]
    again = np.concatenate([[False], (np.diff(rows) == 0) & (np.diff(times) == 0)])
    if again[: len(rows)].any():
        counts.late += int(again.sum())
        rows, times, values = rows[~again], times[~again], values[~again]
    return rows, times, values


def in_turns(points: Points) -> Iterator[Points]:
    """The first of every series' points, then the second ones, and so on; they are in order."""
    rows, times, values = points
    if not len(rows):
        return
    starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    lengths = np.diff(np.append(starts, len(rows)))
    for turn in range(int(lengths.max())):
        at = starts[lengths > turn] + turn
        yield rows[at], times[at], values[at]
