"""Local time of day and week, with daylight saving and holidays, by named calendars.

A holiday's day is like none of those it would be compared with: on it, what looks at the time of
day or of the week says nothing and learns nothing; everything else continues.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.time_zones import time_zone

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_YEARLY = re.compile(r"\d\d-\d\d")
_LEAP_YEAR = 2024
Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Calendar(BaseModel):
    """The time zone and holidays of a series' users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zone: str = Field("UTC", description="The IANA name of the time zone, such as Asia/Tokyo.")
    holidays: tuple[str, ...] = Field(
        (),
        description="Local dates on which people do not work: 2026-11-23, or 12-25 for every year.",
    )

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        return time_zone(value).key

    @field_validator("holidays")
    @classmethod
    def _dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        faults = [text for text in value if _day_of(text) is None]
        if faults:
            msg = f"not a date like 2026-11-23 or 12-25: {', '.join(faults)}"
            raise ValueError(msg)
        return value

    @cached_property
    def _days_off(self) -> tuple[frozenset[date], frozenset[tuple[int, int]]]:
        once, yearly = set(), set()
        for text in self.holidays:
            day = _day_of(text)
            if day is None:
                continue
            if _YEARLY.fullmatch(text):
                yearly.add((day.month, day.day))
            else:
                once.add(day)
        return frozenset(once), frozenset(yearly)

    def is_holiday(self, days: int) -> bool:
        """Return whether the local day that many days after 1970-01-01 is one."""
        day = datetime.fromtimestamp(days * 86_400, tz=UTC).date()
        once, yearly = self._days_off
        return day in once or (day.month, day.day) in yearly


def _day_of(text: str) -> date | None:
    """The date; of a yearly one that of a leap year."""
    try:
        return date.fromisoformat(f"{_LEAP_YEAR}-{text}" if _YEARLY.fullmatch(text) else text)
    except ValueError:
        return None


@lru_cache(maxsize=100_000)
def _offset_ms(zone: str, hour: int) -> int:
    moment = datetime.fromtimestamp(hour * 3600, tz=UTC).astimezone(ZoneInfo(zone))
    offset = moment.utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)


def local_ms(time_ms: Longs, zone: str) -> Longs:
    """The time on a clock in ``zone`` at ``time_ms`` (n,), as milliseconds since 1970.

    Offsets change at whole hours of UTC in every zone that has daylight saving.
    """
    if zone == "UTC" or not len(time_ms):
        return time_ms
    hours, place = np.unique(time_ms // _HOUR_MS, return_inverse=True)
    offsets = np.array([_offset_ms(zone, int(hour)) for hour in hours], dtype=np.int64)
    return time_ms + offsets[place]


class Calendars:
    """Several calendars at once: each series has the number of its own."""

    def __init__(self, calendars: Sequence[Calendar]) -> None:
        self._calendars = tuple(calendars)

    def look(self, numbers: NDArray[np.int16], time_ms: Longs) -> tuple[Longs, Bools]:
        """Local times (n,), and where it is a holiday (n,)."""
        if len(self._calendars) == 1:
            return self._one(self._calendars[0], time_ms)
        local, off = time_ms.copy(), np.zeros(len(time_ms), dtype=np.bool_)
        for number in np.unique(numbers):
            here = numbers == number
            local[here], off[here] = self._one(self._calendars[number], time_ms[here])
        return local, off

    @staticmethod
    def _one(calendar: Calendar, time_ms: Longs) -> tuple[Longs, Bools]:
        local = local_ms(time_ms, calendar.zone)
        if not calendar.holidays or not len(local):
            return local, np.zeros(len(local), dtype=np.bool_)
        days, place = np.unique(local // _DAY_MS, return_inverse=True)
        off = np.array([calendar.is_holiday(int(day)) for day in days], dtype=np.bool_)
        return local, off[place]
