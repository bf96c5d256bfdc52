"""Which series only grow until they are reset, and are kept as rates.

A name that ends in ``_total`` says so, as does the exporter's own declaration. ``_count``, ``_sum``
and ``_bucket`` are counters in every histogram and summary, but people end the names of gauges so,
too: such a series is taken for a counter until its values speak against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SURE = "_total"
_PRESUMED = ("_count", "_sum", "_bucket")
_RESTARTS_BELOW = 0.5
"""A counter that was reset begins near 0: a fall to more than this share of it is none."""
_MAX_ODD_FALLS = 2
_MIN_FALLS, _FALLS_PER_POINT = 4, 0.05
"""A series that falls that often is restarted by nobody: it goes up and down."""


def is_counter(name: str) -> bool:
    """Whether a series of this name is taken for a counter from its first sample on."""
    return name.endswith((_SURE, *_PRESUMED))


def is_presumed(name: str) -> bool:
    """Whether its values may show that it is none."""
    return name.endswith(_PRESUMED)


def odd_falls(before: Floats, value: Floats) -> NDArray[np.bool_]:
    """Falls that are no reset: to much of the value before, or below 0."""
    with np.errstate(invalid="ignore"):
        found = (value < before) & ((value > _RESTARTS_BELOW * before) | (value < 0))
    return np.asarray(found)


def goes_up_and_down(
    points: NDArray[np.int32], falls: NDArray[np.int32], odd: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Whether so many falls, and odd ones, in so many points are a gauge's."""
    often = (falls >= _MIN_FALLS) & (falls > _FALLS_PER_POINT * points)
    return np.asarray((odd >= _MAX_ODD_FALLS) | often)


def declared_series(family: str, kind: str) -> tuple[str, ...]:
    """The counters of a metric family, as its metadata in remote write 1.0 declares them."""
    named: dict[str, Callable[[], Iterable[str]]] = {
        "counter": lambda: (family, f"{family}_total"),
        "histogram": lambda: (f"{family}{end}" for end in _PRESUMED),
        "summary": lambda: (f"{family}_count", f"{family}_sum"),
    }
    return tuple(named[kind]()) if kind in named else ()
