"""Clock steps: everything that waits for a time is moved with the clock.

A lease that ended at once would let two remediations work on one target; one that ended an hour
late would keep every other from it. So all moments move with the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.action import ACTIONS, CLUSTER_ORDERS, LEASES, OPEN_ACTIONS
from services.healer.model.commands import RUNS
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.notification import (
    CHANNEL_FAILURES,
    DELIVERIES,
    FLAPS,
    GROUPS,
    NOTIFICATION_STATES,
    QUOTAS,
    STORM,
)
from services.healer.model.transitions import Phase
from services.healer.notify.notification_log import look_again
from shared.changes import changed
from shared.service import Context
from shared.store import Collection, Records

log = structlog.get_logger(__name__)

NOTICED = timedelta(seconds=30)
"""Smaller steps are within the difference of two machines' clocks, and are ignored."""
_LIMIT = 100_000
_ACTING = (Phase.ACTING, Phase.SETTLING, Phase.READING, Phase.UNDOING)
_OPEN = [phase for phase in Phase if phase is not Phase.CLOSED]


class Clock(BaseModel):
    """The latest time at which the healer was working."""

    model_config = ConfigDict(frozen=True)

    name: str = "clock"
    seen: AwareDatetime
    moved: timedelta = timedelta()
    """The sum of the steps by which the stored times were moved."""


CLOCK = Collection("clock", Clock, key=lambda clock: clock.name)
T = TypeVar("T", bound=BaseModel)


class _Reading(NamedTuple):
    """Both clocks at a check, and how far the stored times had been moved by then."""

    now: datetime
    uptime_s: float
    moved: timedelta


class ClockSteps:
    """Detects that the clock was set, and moves everything that waits for a time.

    Args:
        uptime: seconds by a clock that nobody sets. What the clock of contexts gains over it is a
            step; without it only steps back differ from time that passed. What another replica has
            moved since this one's last check is no step any more.
    """

    def __init__(self, uptime: Callable[[], float] | None = None) -> None:
        self._uptime = uptime
        self._last: _Reading | None = None
        """The last check whose consequences are stored."""
        self._put: _Reading | None = None
        """The check that wrote the record last, perhaps in a transaction that failed."""

    def follow(self, ctx: Context) -> None:
        """Check the clock before any work that depends on it."""
        before = ctx.records.get(CLOCK, "clock")
        if before is not None and self._put is not None and before.seen == self._put.now:
            self._last = self._put
        moved = timedelta() if before is None else before.moved
        if before is not None and abs(ctx.now - before.seen) < NOTICED:
            # The clock was not set, or another replica has handled it.
            self._last = self._reading(ctx.now, moved)
            return
        passed, gained = self._passed(ctx.now, moved)
        by = timedelta()
        if before is not None:
            # A process that started after the step knows of it only from the healer's records.
            away = min(ctx.now - before.seen, timedelta())
            by = gained if abs(gained) >= NOTICED else away
        ctx.records.put(CLOCK, Clock(seen=ctx.now, moved=moved + by))
        self._put = self._reading(ctx.now, moved + by)
        if by < timedelta():
            log.warning("clock_set_back", seconds=-by.total_seconds())
            _move(ctx, _Step(by, lambda moment: moment > ctx.now))
        elif by:
            log.warning("clock_set_forward", seconds=by.total_seconds())
            set_at = ctx.now - passed
            _move(ctx, _Step(by, lambda moment: moment < set_at))

    def _passed(self, now: datetime, moved: timedelta) -> tuple[timedelta, timedelta]:
        """The time since the last stored check, and the step since then that nobody handled."""
        reading = self._reading(now, moved)
        if reading is None:
            return timedelta(), timedelta()
        last = self._last = self._last or reading
        passed = timedelta(seconds=reading.uptime_s - last.uptime_s)
        return passed, now - last.now - passed - (moved - last.moved)

    def _reading(self, now: datetime, moved: timedelta) -> _Reading | None:
        return None if self._uptime is None else _Reading(now, self._uptime(), moved)


def uptime() -> float:
    """Seconds since boot, including sleep where the system counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class _Step:
    """The size of a clock step, and the times that still follow the old clock.

    After a step back those are the ones to come. After a step forward they are the ones that seem
    past: what was noted after the step is not moved, and a longer wait loses the step at most.
    """

    by: timedelta
    is_of_before: Callable[[datetime], bool]

    def moved(self, value: Any) -> Any:
        """Move a time, or times within tuples, to the new clock."""
        if isinstance(value, datetime):
            return value + self.by if self.is_of_before(value) else value
        if isinstance(value, tuple):
            return tuple(self.moved(each) for each in value)
        return value

    def shifted(self, record: BaseModel, *fields: str) -> dict[str, Any]:
        return {name: self.moved(getattr(record, name)) for name in fields}

    def shift(
        self,
        records: Records,
        collection: Collection[T],
        *fields: str,
        status: Sequence[str] | None = None,
    ) -> None:
        found = records.find(collection, status=status, limit=_LIMIT)
        records.put_all(
            collection,
            [changed(each, **self.shifted(each, *fields)) for each in found],
        )


def _move(ctx: Context, step: _Step) -> None:
    records = ctx.records
    step.shift(records, NOTIFICATION_STATES, "due", "since")
    step.shift(records, FLAPS, "until", "since")
    step.shift(records, GROUPS, "due")
    step.shift(records, STORM, "since", "next_at", "recent", "attached")
    step.shift(records, QUOTAS, "times", "digest_at")
    step.shift(records, CHANNEL_FAILURES, "since")
    step.shift(records, DELIVERIES, "due", status=("pending", "sending"))
    step.shift(records, ACTIONS, "due", "expires", status=OPEN_ACTIONS)
    step.shift(records, CLUSTER_ORDERS, "due", "claimed_until", status=("pending",))
    step.shift(records, RUNS, "at", "due")
    whole = step if step.by < timedelta() else _Step(step.by, lambda _: True)
    # An action at work on a target keeps all of its time.
    whole.shift(records, LEASES, "until", status=("held",))
    # One that has ended may not begin in the future: it would count as the latest of its series.
    statuses = [*Phase] if step.by < timedelta() else _OPEN
    for incident in records.find(INCIDENTS, status=statuses, limit=_LIMIT):
        acts = incident.phase in _ACTING
        records.put(INCIDENTS, _incident(incident, whole if acts else step))
    # Silences and windows are of the time on the wall: one that held an alert may be open no more.
    look_again(ctx)


def _incident(incident: Incident, step: _Step) -> Incident:
    signals = {
        key: changed(signal, **step.shifted(signal, "until", "expires"))
        for key, signal in incident.signals.items()
    }
    times = step.shifted(incident, "due", "opened_at", "closed_at")
    return changed(incident, signals=signals, **times)
