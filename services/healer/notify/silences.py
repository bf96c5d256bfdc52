"""Silences and maintenance windows: which alerts are muted, by whom, why, and until when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, model_validator

from services.healer.notify import recurrence
from services.healer.notify.matchers import Matchers, all_match
from shared.store import Collection
from shared.time_zones import Moment, time_zone

_DAY = timedelta(days=1)
_JOINED = 400
"""The most windows without a gap that are followed to their end: muting every day mutes for
ever."""
_MIN_START, _MAX_START = datetime(2000, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 - local times


class Recurrence(BaseModel):
    """The windows of a maintenance window: an iCalendar rule (RFC 5545) in a time zone.

    The rule counts in local time, so a window at 22:00 stays at 22:00 when the clocks change. Its
    length is elapsed time, but whole days are days of the calendar (RFC 5545, 3.3.6): a window of
    86,400 s from midnight lasts until midnight. A start in the hour that is left out moves by that
    hour, one in the hour that comes twice is the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str = Field(
        min_length=1,
        max_length=500,
        description="A recurrence rule without DTSTART, such as FREQ=WEEKLY;BYDAY=SU.",
    )
    first: NaiveDatetime = Field(
        ge=_MIN_START,
        lt=_MAX_START,
        description="The local time of the first window's start, such as 2026-01-04T22:00.",
    )
    timezone: str = Field(
        default="UTC",
        max_length=64,
        description="The IANA name of the time zone, such as Europe/Berlin.",
    )
    duration_s: float = Field(
        gt=0, le=31 * 86_400, description="The length of each window in seconds."
    )

    @model_validator(mode="after")
    def _usable(self) -> Recurrence:
        zone = time_zone(self.timezone)
        try:
            recurrence.bounded(self.rule, self.first, zone)
        except ValueError as error:
            msg = f"{self.rule!r} is not a usable recurrence rule: {error}"
            raise ValueError(msg) from error
        return self

    def open_at(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """Start and end of the last window that is open at ``moment``, or None."""
        zone, length = ZoneInfo(self.timezone), timedelta(seconds=self.duration_s)
        rule = recurrence.bounded(self.rule, self.first, zone)
        local = moment.astimezone(zone).replace(tzinfo=None)
        # A day on either side: local and elapsed time differ by the change of the clocks.
        near = recurrence.starts(rule, (local - length - _DAY).date(), (local + _DAY).date())
        windows = (self._window(start, zone) for start in reversed(near))
        return next((window for window in windows if window[0] <= moment < window[1]), None)

    def open_until(self, moment: datetime) -> datetime | None:
        """The end of the windows that are open from ``moment`` on without a gap, or None.

        Of more than ``_JOINED`` windows it is the end of so many.
        """
        window = self.open_at(moment)
        return None if window is None else _joined(self, window[1])

    def _window(self, local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
        start, length = (
            local.replace(tzinfo=zone).astimezone(UTC),
            timedelta(seconds=self.duration_s),
        )
        if length % _DAY:
            return start, start + length
        return start, (local + length).replace(tzinfo=zone).astimezone(UTC)

    def between(
        self, begin: datetime, end: datetime, limit: int = 1000
    ) -> Iterator[tuple[datetime, datetime]]:
        """Windows (UTC) that are open at some time from ``begin`` to ``end``, in order."""
        zone, length = ZoneInfo(self.timezone), timedelta(seconds=self.duration_s)
        rule = recurrence.bounded(self.rule, self.first, zone)
        if begin.year >= recurrence.LAST.year:
            return  # rules end there, and no zone leads out of the calendar
        after = begin.astimezone(zone).replace(tzinfo=None) - length - _DAY
        for local in recurrence.walk(rule, after.date()):
            start, over = self._window(local, zone)
            if start - _DAY > end or limit <= 0:
                return
            if start <= end and over > begin:
                limit -= 1
                yield start, over


@lru_cache(maxsize=256)
def _joined(windows: Recurrence, end: datetime) -> datetime:
    """The end of the windows that follow on one that ends at ``end``, without a gap."""
    for _ in range(_JOINED):
        following = windows.open_at(end)
        if following is None:
            break
        end = following[1]
    return end


class Silence(BaseModel):
    """People are not notified of alerts that match; with a recurrence, in its windows only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    silence_id: str = Field(min_length=1, max_length=128, description="The silence's id.")
    matchers: Matchers = Field(min_length=1, description="The conditions, all of which must hold.")
    starts_at: Moment = Field(description="The time at which it begins to mute.")
    ends_at: Moment = Field(description="The time at which it stops muting.")
    owner: str = Field(
        min_length=1, max_length=200, description="The person or team to ask about it."
    )
    reason: str = Field(
        min_length=1, max_length=1000, description="The reason for which it was made."
    )
    recurrence: Recurrence | None = Field(
        default=None, description="The windows in which it mutes; null: all the time."
    )
    tell_resolved: bool = Field(
        default=True,
        description="true: people who were notified of an alert are still notified of its end.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Silence:
        if self.ends_at <= self.starts_at:
            msg = "ends_at must be after starts_at"
            raise ValueError(msg)
        return self

    def open_until(self, now: datetime) -> datetime | None:
        """Return when it next stops to mute, if it mutes now."""
        if not self.starts_at <= now < self.ends_at:
            return None
        if self.recurrence is None:
            return self.ends_at
        until = self.recurrence.open_until(now)
        return None if until is None else min(until, self.ends_at)

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Return whether it is about alerts with these labels."""
        return all_match(self.matchers, labels)

    def windows(self, now: datetime, count: int) -> list[tuple[datetime, datetime]]:
        """The next times it mutes, at most ``count``."""
        begin = max(now, self.starts_at)
        if begin >= self.ends_at:
            return []
        if self.recurrence is None:
            return [(self.starts_at, self.ends_at)]
        found = self.recurrence.between(begin, self.ends_at, count)
        cut = [(max(a, self.starts_at), min(b, self.ends_at)) for a, b in found]
        return [(a, b) for a, b in cut if a < b]


SILENCES = Collection("silences", Silence, key=lambda s: s.silence_id, due=lambda s: s.ends_at)
"""The silences that people made; the configured ones are in the settings."""
