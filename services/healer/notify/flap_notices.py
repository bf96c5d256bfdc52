"""Notifications about flapping: its announcement and its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from services.healer.model.incident import INCIDENTS
from services.healer.model.notification import (
    FLAPS,
    NOTIFICATION_STATES,
    Flap,
    NotificationState,
    NotificationStatus,
    series_key,
)
from services.healer.model.series_incidents import open_incident
from services.healer.model.transitions import Phase
from services.healer.notify.notification_states import notification_of
from shared.changes import changed
from shared.service import Context

_RECHECK = timedelta(seconds=60)


def notified(notification: NotificationState, ctx: Context) -> None:
    """People were notified, as the notification says, of an alert whose series may flap."""
    flap = (
        ctx.records.get(FLAPS, series_key(notification.series)) if notification.flapping else None
    )
    if flap is None:
        return
    update: dict[str, object] = {}
    if notification.said == "flapping":
        update = {"announced": True, "thread_id": notification.thread_id}
        update |= {"announced_by": notification.incident_id}
    ctx.records.put(FLAPS, _counted(changed(flap, **update), notification))


def dropped(notification: NotificationState, ctx: Context) -> None:
    """There is nothing more to say of this alert; its series may flap on."""
    flap = (
        ctx.records.get(FLAPS, series_key(notification.series)) if notification.flapping else None
    )
    if flap is not None:
        ctx.records.put(FLAPS, _counted(flap, notification))


def _counted(flap: Flap, notification: NotificationState) -> Flap:
    """The record with the number of the newest alert's notices, so that each id is used once."""
    newest = flap.incident_id == notification.incident_id
    return changed(flap, **({"notices": notification.notices} if newest else {}))


def calmed(group_by: Sequence[str], ctx: Context) -> None:
    """Series that have not opened for long enough are calm: people who know are notified."""
    for flap in ctx.records.find(FLAPS, due_before=ctx.now):
        ctx.records.delete(FLAPS, flap.key)
        if flap.announced:
            _end(flap, group_by, ctx)


def _end(flap: Flap, group_by: Sequence[str], ctx: Context) -> None:
    """The end of the flapping is notified: now, or with the end of the alert that is open."""
    last = ctx.records.get(INCIDENTS, flap.incident_id)
    if last is None:
        return
    current = open_incident(ctx.records, last.series) or last
    notification = ctx.records.get(NOTIFICATION_STATES, current.incident_id)
    said: dict[str, object] = {"said": "flapping", "thread_id": flap.thread_id}
    said |= {"ends": flap.announced_by}
    if current.phase is not Phase.CLOSED:
        if notification is None:  # it is being handled, and nobody is to be notified yet
            ctx.records.put(FLAPS, changed(flap, until=ctx.now + _RECHECK))
        elif not notification.known:
            ctx.records.put(NOTIFICATION_STATES, changed(notification, **said))
        return
    over = {"status": NotificationStatus.PENDING, "tell": "resolved", "ended": True, "due": ctx.now}
    if notification is None:
        notification = changed(notification_of(current, group_by), notices=flap.notices)
    ctx.records.put(NOTIFICATION_STATES, changed(notification, **(said | over)))
