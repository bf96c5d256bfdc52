"""When the clock is set back: what was due after a pause is due after that pause all the same."""

from __future__ import annotations

from collections.abc import Sequence
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
_OPEN = [phase for phase in Phase if phase is not Phase.CLOSED]


class Clock(BaseModel):
    """The latest time at which the healer was seen to work."""

    model_config = ConfigDict(frozen=True)

    name: str = "clock"
    seen: AwareDatetime


CLOCK = Collection("clock", Clock, key=lambda clock: clock.name)
T = TypeVar("T", bound=BaseModel)


def follow(ctx: Context) -> None:
    """Notice that the clock was set back, and set back with it whatever waits for a moment."""
    before = ctx.records.get(CLOCK, "clock")
    if before is not None and abs(ctx.now - before.seen) < NOTICED:
        return
    ctx.records.put(CLOCK, Clock(seen=ctx.now))
    if before is not None and ctx.now < before.seen:
        by = before.seen - ctx.now
        log.warning("clock_set_back", seconds=by.total_seconds())
        _set_back(ctx.records, ctx.now, by)


def _set_back(records: Records, now: datetime, by: timedelta) -> None:
    _shift(records, STANDINGS, ("due", "since"), now, by)
    _shift(records, FLAPS, ("until", "since"), now, by)
    _shift(records, GROUPS, ("due", "told_at"), now, by)
    _shift(records, STORM, ("since", "next_at", "recent", "attached"), now, by)
    _shift(records, QUOTAS, ("times", "digest_at"), now, by)
    _shift(records, DELIVERIES, ("due",), now, by, ("pending", "sending"))
    _shift(records, ACTIONS, ("due", "expires"), now, by, OPEN_ACTIONS)
    _shift(records, LEASES, ("until",), now, by, ("held",))
    _shift(records, CLUSTER_ORDERS, ("due", "claimed_until"), now, by, ("pending",))
    _shift(records, RUNS, ("at", "due"), now, by)
    for incident in records.find(INCIDENTS, status=_OPEN, limit=_LIMIT):
        records.put(INCIDENTS, _incident(incident, now, by))


def _incident(incident: Incident, now: datetime, by: timedelta) -> Incident:
    signals = {
        key: signal.model_copy(
            update=_shifted(signal, ("until", "expires"), now, by),
        )
        for key, signal in incident.signals.items()
    }
    times = _shifted(incident, ("due", "opened_at"), now, by)
    return incident.model_copy(update={"signals": signals, **times})


def _shift(
    records: Records,
    collection: Collection[T],
    fields: Sequence[str],
    now: datetime,
    by: timedelta,
    status: Sequence[str] | None = None,
) -> None:
    found = records.find(collection, status=status, limit=_LIMIT)
    records.put_all(
        collection, [each.model_copy(update=_shifted(each, fields, now, by)) for each in found]
    )


def _shifted(
    record: BaseModel, fields: Sequence[str], now: datetime, by: timedelta
) -> dict[str, Any]:
    return {name: _earlier(getattr(record, name), now, by) for name in fields}


def _earlier(value: Any, now: datetime, by: timedelta) -> Any:
    """A moment, or moments within tuples, as early as they would be by the new clock."""
    if isinstance(value, datetime):
        return value - by if value > now else value
    if isinstance(value, tuple):
        return tuple(_earlier(each, now, by) for each in value)
    return value
