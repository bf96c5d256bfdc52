"""Recognises counters: series that only grow until they are reset, and are kept as rates.

A name that ends in ``_total`` says so, as does the exporter's own declaration. ``_count``, ``_sum``
and ``_bucket`` are counters in every histogram and summary, but people end the names of gauges so,
too, and exporters declare gauges to be counters: a series is taken for one until its values speak
against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from shared.columns import Columns

Floats = NDArray[np.float64]

_SURE = "_total"
_PRESUMED = ("_count", "_sum", "_bucket")
_RESTARTS_BELOW = 0.5
"""A reset counter starts near 0, so a fall to more than this share is not a reset."""
_MAX_ODD_FALLS = 2
_MIN_FALLS, _FALLS_PER_POINT = 4, 0.05
"""A series that falls this often is not a restarted counter but a gauge."""


def is_counter(name: str) -> bool:
    """Return whether a series of this name is taken for a counter from its first sample on."""
    return name.endswith((_SURE, *_PRESUMED))


def is_presumed(name: str) -> bool:
    """Return whether its values may show that it is not a counter."""
    return name.endswith(_PRESUMED)


def gauges_among(
    state: Columns,
    rows: NDArray[np.int64],
    first: NDArray[np.bool_],
    before: Floats,
    values: Floats,
) -> NDArray[np.int64]:
    """Count the falls of counters; the rows of those whose values show that they are gauges.

    Args:
        state: by row: ``counter``, ``presumed``, ``points``, ``falls`` and ``odd_falls``.
        rows: the row of each value, in order.
        first: marks the first value of each row.
        before: the value before each.
        values: NaN for the first of a series.
    """
    starts = np.flatnonzero(first)
    state["points"][rows[starts]] += np.diff(starts, append=len(rows)).astype(np.int32)
    fell = np.flatnonzero(state["counter"][rows] & (values < before))
    if not len(fell):
        return fell
    np.add.at(state["falls"], rows[fell], 1)
    np.add.at(state["odd_falls"], rows[fell][_odd_falls(before[fell], values[fell])], 1)
    doubted = np.unique(rows[fell])
    return doubted[_goes_up_and_down(*(state[name][doubted] for name in _COUNTS))]


_COUNTS = ("points", "falls", "odd_falls", "presumed")


def _odd_falls(before: Floats, value: Floats) -> NDArray[np.bool_]:
    """Falls that are no reset: to much of the value before, or below 0."""
    with np.errstate(invalid="ignore"):
        found = (value < before) & ((value > _RESTARTS_BELOW * before) | (value < 0))
    return np.asarray(found)


def _goes_up_and_down(
    points: NDArray[np.int32],
    falls: NDArray[np.int32],
    odd: NDArray[np.int32],
    presumed: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return whether this number of falls, and of odd falls, shows a gauge.

    What calls itself a counter is one unless it falls by a part again and again: a counter is
    reset, and some exporters now and then report one that is a little behind.
    """
    often = (falls >= _MIN_FALLS) & (falls > _FALLS_PER_POINT * points)
    oddly = (odd >= _MIN_FALLS) & (odd > _FALLS_PER_POINT * points)
    return np.where(presumed, (odd >= _MAX_ODD_FALLS) | often, oddly)


def declared_series(family: str, kind: str) -> tuple[str, ...]:
    """The counters of a metric family, as its metadata in remote write 1.0 declares them."""
    named: dict[str, Callable[[], Iterable[str]]] = {
        "counter": lambda: (family, f"{family}_total"),
        "histogram": lambda: (f"{family}{end}" for end in _PRESUMED),
        "summary": lambda: (f"{family}_count", f"{family}_sum"),
    }
    return tuple(named[kind]()) if kind in named else ()
