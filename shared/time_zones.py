"""Time zones by the names that people give, and moments whatever zone they are written in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime

LAST_MS = 253_370_764_800_000
"""The calendar's last year begins (Unix milliseconds); later times do not exist in every zone."""
_FIRST_MOMENT, _LAST_MOMENT = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def time_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name.

    Raises:
        ValueError: there is none; a folder of zones, such as Europe, is none either.

    >>> time_zone("Asia/Tokyo").key
    'Asia/Tokyo'
    """
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def in_utc(moment: datetime) -> datetime:
    """The moment in universal time; the calendar's first or last where its zone leads out of it.

    >>> in_utc(datetime.fromisoformat("9999-12-31T23:59:59-14:00")) == datetime.max.replace(
    ...     tzinfo=UTC
    ... )
    True
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST_MOMENT if moment.year == _FIRST_MOMENT.year else _LAST_MOMENT


def at_ms(time_ms: int) -> datetime:
    """The moment of a time in Unix milliseconds; the nearest one that the calendar has.

    A message may carry any number as a time, and people must hear of its alert all the same.

    >>> at_ms(1_700_000_000_000).isoformat()
    '2023-11-14T22:13:20+00:00'
    >>> at_ms(2**62).year
    9999
    """
    return datetime.fromtimestamp(min(max(time_ms, 0), LAST_MS) / 1000, UTC)


Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A moment from outside, in universal time."""
