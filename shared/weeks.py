"""Calendar weeks for statistics: ISO 8601, from Monday, UTC."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT_WEEKS = 13
"""The weeks of results that are kept: a quarter of a year."""
_DAY_MS, _DAYS = 86_400_000, 7
_FIRST_MONDAY = date(1969, 12, 29)
"""The Monday of week 0."""
Times = TypeVar("Times", int, "NDArray[np.int64]")


def week_of(time_ms: Times) -> Times:
    """The number of the week that a time in milliseconds lies in.

    >>> week_name(week_of(0)), week_name(week_of(1_798_761_600_000))
    ('1970-W01', '2026-W53')
    """
    return (time_ms // _DAY_MS + 3) // _DAYS


def week_numbered(name: str) -> int:
    """The number of a week that ISO 8601 writes so; ValueError for another text.

    >>> week_numbered("2026-W53") == week_of(1_798_761_600_000)
    True
    """
    year, _, number = name.partition("-W")
    return (date.fromisocalendar(int(year), int(number), 1) - _FIRST_MONDAY).days // _DAYS


def week_name(week: int) -> str:
    """A week as ISO 8601 writes it; OverflowError for one that no calendar has."""
    year, number, _ = (_FIRST_MONDAY + timedelta(weeks=week)).isocalendar()
    return f"{year}-W{number:02d}"
