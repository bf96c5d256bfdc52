"""When the clock is set: what was due after a pause is due after that pause all the same.

A lease that ended at once would let two remediations work on one target; one that ended an hour
late would keep every other from it. So all moments move with the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.action import ACTIONS, CLUSTER_ORDERS, LEASES, OPEN_ACTIONS
from services.healer.model.commands import RUNS
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.notification import (
    DELIVERIES,
    FLAPS,
    GROUPS,
    QUOTAS,
    STANDINGS,
    STORM,
)
from services.healer.model.transitions import Phase
from shared.service import Context
from shared.store import Collection, Records

log = structlog.get_logger(__name__)

NOTICED = timedelta(seconds=30)
"""Less than this is the difference between two machines' clocks, and costs no more than itself."""
_LIMIT = 100_000
_ACTING = (Phase.ACTING, Phase.SETTLING, Phase.READING, Phase.UNDOING)
_OPEN = [phase for phase in Phase if phase is not Phase.CLOSED]


class Clock(BaseModel):
    """The latest time at which the healer was seen to work."""

    model_config = ConfigDict(frozen=True)

    name: str = "clock"
    seen: AwareDatetime


CLOCK = Collection("clock", Clock, key=lambda clock: clock.name)
T = TypeVar("T", bound=BaseModel)


class ClockSteps:
    """Notices that the clock was set, and moves with it whatever waits for a moment.

    Args:
        uptime: seconds by a clock that nobody sets. What the clock of contexts gains over it is a
            step; without it only steps back differ from time that passed.
    """

    def __init__(self, uptime: Callable[[], float] | None = None) -> None:
        self._uptime = uptime
        self._last: tuple[datetime, float] | None = None

    def follow(self, ctx: Context) -> None:
        """Look at the clock, before anything that waits for it is done."""
        passed, gained = self._passed(ctx.now)
        before = ctx.records.get(CLOCK, "clock")
        if before is not None and abs(ctx.now - before.seen) < NOTICED:
            # Nothing was set, or another replica has seen to it.
            return
        ctx.records.put(CLOCK, Clock(seen=ctx.now))
        if before is None:
            return
        # Who started after the step knows of it only by what the healer saw before.
        by = gained if abs(gained) >= NOTICED else min(ctx.now - before.seen, timedelta())
        if by < timedelta():
            log.warning("clock_set_back", seconds=-by.total_seconds())
            _move(ctx.records, _Step(by, lambda moment: moment > ctx.now))
        elif by:
            log.warning("clock_set_forward", seconds=by.total_seconds())
            set_at = ctx.now - passed
            _move(ctx.records, _Step(by, lambda moment: moment < set_at))

    def _passed(self, now: datetime) -> tuple[timedelta, timedelta]:
        """The time since the last look, and what the clock went on more than that."""
        if self._uptime is None:
            return timedelta(), timedelta()
        (seen, before), uptime = self._last or (now, self._uptime()), self._uptime()
        self._last = (now, uptime)
        passed = timedelta(seconds=uptime - before)
        return passed, now - seen - passed


def uptime() -> float:
    """Seconds since the machine's start, those asleep among them where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class _Step:
    """By how much the clock was set, and which moments still count by the clock before it.

    After a step back those are the ones to come. After a step forward they are the ones that seem
    past: what was noted after the step is not moved, and a longer wait loses the step at most.
    """

    by: timedelta
    is_of_before: Callable[[datetime], bool]

    def moved(self, value: Any) -> Any:
        """A moment, or moments within tuples, where it would be by the new clock."""
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
            [each.model_copy(update=self.shifted(each, *fields)) for each in found],
        )


def _move(records: Records, step: _Step) -> None:
    step.shift(records, STANDINGS, "due", "since")
    step.shift(records, FLAPS, "until", "since")
    step.shift(records, GROUPS, "due", "told_at")
    step.shift(records, STORM, "since", "next_at", "recent", "attached")
    step.shift(records, QUOTAS, "times", "digest_at")
    step.shift(records, DELIVERIES, "due", status=("pending", "sending"))
    step.shift(records, ACTIONS, "due", "expires", status=OPEN_ACTIONS)
    step.shift(records, CLUSTER_ORDERS, "due", "claimed_until", status=("pending",))
    step.shift(records, RUNS, "at", "due")
    whole = step if step.by < timedelta() else _Step(step.by, lambda _: True)
    # An action at work on a target keeps all of its time.
    whole.shift(records, LEASES, "until", status=("held",))
    for incident in records.find(INCIDENTS, status=_OPEN, limit=_LIMIT):
        acts = incident.phase in _ACTING
        records.put(INCIDENTS, _incident(incident, whole if acts else step))


def _incident(incident: Incident, step: _Step) -> Incident:
    signals = {
        key: signal.model_copy(update=step.shifted(signal, "until", "expires"))
        for key, signal in incident.signals.items()
    }
    times = step.shifted(incident, "due", "opened_at")
    return incident.model_copy(update={"signals": signals, **times})
