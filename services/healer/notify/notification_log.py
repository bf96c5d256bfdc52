"""Records notifications: people were notified, an alert is held back, or it has ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.model import decision_log
from services.healer.model.narrative import Fact, Held, Notified, NotNotified, extended
from services.healer.model.notice import Kind
from services.healer.model.notification import (
    HEARD,
    NOTIFICATION_STATES,
    Heard,
    NotificationState,
    NotificationStatus,
)
from services.healer.model.policy import worst
from services.healer.notify import flap_notices, measures
from services.healer.notify.filters import Drop, Hold
from shared.changes import changed
from shared.contracts.alerts import Severity
from shared.observe import ALERTS_HELD
from shared.service import Context

_MAX_HELD = 20_000


class NotificationLog:
    """Records notifications; the history of ended incidents is kept for ``keep``."""

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep

    def hold(self, notification: NotificationState, hold: Hold, ctx: Context) -> None:
        """Record that an alert is held back, and when it is checked again."""
        measures.hold(notification, hold, ctx)
        fact = Held(at=ctx.now, by=hold.by, until=hold.until, cause=hold.cause)
        update = {
            "status": NotificationStatus.HELD,
            "held_by": hold.by,
            "due": hold.until,
            "cause": hold.cause,
            "history": extended(notification.history, fact),
        }
        ctx.records.put(NOTIFICATION_STATES, changed(notification, **update))
        if notification.status is not NotificationStatus.HELD:
            _write(notification, fact)
            ALERTS_HELD.labels(hold.by.partition(" ")[0]).inc()

    def drop(self, notification: NotificationState, drop: Drop, ctx: Context) -> None:
        """Record that there is no longer anything to notify people of."""
        measures.hold(notification, drop, ctx)
        flap_notices.dropped(notification, ctx)
        self._over(notification, NotNotified(at=ctx.now, why=drop.why), ctx)

    def notified(
        self,
        notification: NotificationState,
        said: tuple[Kind, Severity],
        notice: Notified,
        thread_id: str,
        escalates_at: datetime | None,
        ctx: Context,
    ) -> None:
        """Record that a notification was sent; later changes are part of the next one.

        Args:
            notification: its state.
            said: the notice's kind and severity.
            notice: which one it was.
            thread_id: the thread of the notice.
            escalates_at: when somebody else is notified if nobody acknowledges it.
            ctx: the transaction.
        """
        kind, severity = said
        announced = kind == "flapping"
        measures.hold(notification, None, ctx)
        _write(notification, notice)
        known = changed(
            notification,
            history=extended(notification.history, notice),
            said=kind,
            heard=worst([severity, *([notification.heard] if notification.heard else [])]),
            notices=notification.notices + 1,
            thread_id=notification.thread_id or thread_id,
            held_by="",
            cause="",
        )
        flap_notices.notified(known, ctx)
        if notification.ended and (announced or kind == notification.tell):
            self._over(known, None, ctx)
            return
        following = _following(notification, said, escalates_at, ctx.now)
        ctx.records.put(NOTIFICATION_STATES, changed(known, **following))

    def notified_again(
        self, notification: NotificationState, notice: Notified, due: datetime | None, ctx: Context
    ) -> None:
        """Record that a notification of a missing acknowledgement was sent."""
        _write(notification, notice)
        history = extended(notification.history, notice)
        update = {"history": history, "notices": notification.notices + 1, "due": due}
        ctx.records.put(NOTIFICATION_STATES, changed(notification, **update))

    def _over(
        self, notification: NotificationState, last: NotNotified | None, ctx: Context
    ) -> None:
        """End its notifications, and keep their history."""
        facts = [last] if last else []
        _write(notification, *facts)
        history = extended(notification.history, *facts)
        heard = Heard(
            incident_id=notification.incident_id, history=history, due=ctx.now + self._keep
        )
        ctx.records.put(HEARD, heard)
        ctx.records.delete(NOTIFICATION_STATES, notification.incident_id)


def _following(
    notification: NotificationState,
    said: tuple[Kind, Severity],
    escalates_at: datetime | None,
    now: datetime,
) -> dict[str, object]:
    """The changes that say what comes after this notice, if its incident goes on."""
    if said[0] == "flapping":
        # It waits to be notified by itself if it lasts.
        return {"status": NotificationStatus.PENDING, "due": now, "urgent": False}
    if (notification.tell, notification.severity) == said:
        return {"status": NotificationStatus.NOTIFIED, "due": escalates_at, "urgent": False}
    # It has changed since the notification was created; the next one includes that.
    waits = notification.status is NotificationStatus.WAITING
    return {} if waits else {"status": NotificationStatus.PENDING, "due": now}


def look_again(ctx: Context) -> None:
    """Check all held alerts again, because a silence or window may have changed."""
    held = ctx.records.find(NOTIFICATION_STATES, status=NotificationStatus.HELD, limit=_MAX_HELD)
    silenced = [notification for notification in held if notification.held_by.startswith("silence")]
    again = [changed(notification, due=ctx.now) for notification in silenced]
    ctx.records.put_all(NOTIFICATION_STATES, again)


def _write(notification: NotificationState, *facts: Fact) -> None:
    decision_log.write(
        notification.incident_id, notification.series, notification.traceparent, *facts
    )
