"""Leases of targets: two remediations never work on the same target at a time.

An action frees its target when it ends. Nothing but `end_overdue` compares a lease with the clock,
so that a clock which was set frees no target before `ClockSteps` has seen it.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from services.healer.model.action import LEASES, Action, Lease
from shared.service import Context
from shared.store import Records

log = structlog.get_logger(__name__)

_MAX_LEASES = 100_000


def take(action: Action, group: str, lasts: timedelta, ctx: Context) -> Lease:
    """The target's lease for ``action``, with a fence higher than all earlier ones."""
    old = ctx.records.get(LEASES, action.target)
    lease = Lease(
        target=action.target,
        action_id=action.action_id,
        host=action.series.host,
        group=group,
        fence=(old.fence if old else 0) + 1,
        until=ctx.now + lasts,
    )
    ctx.records.put(LEASES, lease)
    return lease


def holder(target: str, records: Records) -> str:
    """The action that works on ``target``; empty when none does."""
    lease = records.get(LEASES, target) if target else None
    return lease.action_id if lease else ""


def hosts_worked_on(group: str, records: Records) -> set[str]:
    """The machines of a group on which an action works."""
    return {lease.host for lease in records.find(LEASES, status="held", group=group)}


def release(action: Action, records: Records) -> None:
    """Free the action's target, unless another has taken it since."""
    lease = records.get(LEASES, action.target)
    if lease is not None and lease.action_id == action.action_id:
        records.put(LEASES, lease.freed())


def end_overdue(ctx: Context) -> None:
    """Free the targets of actions that did not end in time."""
    for lease in ctx.records.find(LEASES, status="held", limit=_MAX_LEASES):
        if lease.until <= ctx.now:
            log.warning("lease_ended", target=lease.target, action_id=lease.action_id)
            ctx.records.put(LEASES, lease.freed())
