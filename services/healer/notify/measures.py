"""Metrics of notification: waiting alerts, how long alerts are held, the oldest critical one."""

from __future__ import annotations

from services.healer.model.narrative import Held
from services.healer.model.notification import (
    NOTIFICATION_STATES,
    NotificationState,
    NotificationStatus,
)
from services.healer.notify.filters import Hold, Verdict
from shared.contracts.alerts import Severity
from shared.observe import ALERTS_HELD_SECONDS, ALERTS_OPEN, OLDEST_UNNOTIFIED
from shared.service import Context

_LOOKED_AT = 200
"""The number of alerts that are read, oldest first, for the age of the oldest."""


def notification_states(ctx: Context) -> None:
    """Export the number of alerts by status, and the age of the oldest unnotified critical."""
    counted = ctx.records.count(NOTIFICATION_STATES)
    for status in NotificationStatus:
        ALERTS_OPEN.labels(status.shown).set(counted.get(status, 0))
    OLDEST_UNNOTIFIED.set(_oldest_unnotified(ctx))


def _oldest_unnotified(ctx: Context) -> float:
    found = ctx.records.find(
        NOTIFICATION_STATES, status=("waiting", "pending", "held"), limit=_LOOKED_AT
    )
    ages = [
        (ctx.now - notification.since).total_seconds()
        for notification in found
        if notification.severity is Severity.CRITICAL
        and not notification.ended
        and notification.said is None
        and not notification.held_by.startswith(("silence", "inhibited"))
    ]
    return max(ages, default=0.0)


def hold(notification: NotificationState, verdict: Verdict, ctx: Context) -> None:
    """Count how long it was held, if the reason no longer holds it."""
    last = notification.history[-1] if notification.history else None
    if notification.status != "held" or not isinstance(last, Held):
        return
    if not isinstance(verdict, Hold) or verdict.by != last.by:
        why = last.by.partition(" ")[0]
        ALERTS_HELD_SECONDS.labels(why).inc(max((ctx.now - last.at).total_seconds(), 0.0))
