"""The open critical alerts that nobody was notified of, and the reason for each."""

from __future__ import annotations

from datetime import timedelta

from pydantic import AwareDatetime, BaseModel

from services.healer.model.notification import (
    NOTIFICATION_STATES,
    NotificationState,
    NotificationStatus,
)
from services.healer.notify.render.story import held_back
from shared.contracts.alerts import Severity
from shared.service import Context

_MAX_SHOWN, _LOOKED_AT = 50, 2000
_USUAL = timedelta(seconds=60)
"""An alert waits for its evidence and its group for moments, which nobody need see."""


class Unheard(BaseModel):
    """An open critical alert of which nobody was notified."""

    alert_id: str
    since: AwareDatetime
    why: str
    until: AwareDatetime | None = None
    """The time at which it is checked again."""


def unheard(ctx: Context) -> list[Unheard]:
    """The oldest of them; a prediction that is past, and what follows from a cause, are none."""
    waiting = (NotificationStatus.WAITING, NotificationStatus.PENDING, NotificationStatus.HELD)
    found = ctx.records.find(NOTIFICATION_STATES, status=waiting, limit=_LOOKED_AT)
    missed = [
        Unheard(alert_id=s.incident_id, since=s.since, why=_why(s), until=s.due)
        for s in found
        if s.severity is Severity.CRITICAL and not s.ended and not s.known and not s.cause
        if s.crossing_ms is None and (s.held_by or ctx.now - s.since > _USUAL)
    ]
    return missed[:_MAX_SHOWN]


def _why(notification: NotificationState) -> str:
    if notification.status is NotificationStatus.HELD:
        return held_back(notification.held_by)
    return "it waits for the next summary or for its group's turn"
