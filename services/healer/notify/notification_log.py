"""Records notifications: people were notified, an alert is held back, or it has ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.model import decision_log
from services.healer.model.narrative import Fact, Held, Notified, NotNotified, extended
from services.healer.model.notice import Kind
from services.healer.model.notification import HEARD, STANDINGS, Heard, Standing, StandingStatus
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

    def hold(self, standing: Standing, hold: Hold, ctx: Context) -> None:
        """Record that an alert is held back, and when it is checked again."""
        measures.hold(standing, hold, ctx)
        fact = Held(at=ctx.now, by=hold.by, until=hold.until, cause=hold.cause)
        update = {
            "status": StandingStatus.HELD,
            "held_by": hold.by,
            "due": hold.until,
            "cause": hold.cause,
            "history": extended(standing.history, fact),
        }
        ctx.records.put(STANDINGS, changed(standing, **update))
        if standing.status is not StandingStatus.HELD:
            _write(standing, fact)
            ALERTS_HELD.labels(hold.by.partition(" ")[0]).inc()

    def drop(self, standing: Standing, drop: Drop, ctx: Context) -> None:
        """Record that there is no longer anything to notify people of."""
        measures.hold(standing, drop, ctx)
        flap_notices.dropped(standing, ctx)
        self._over(standing, NotNotified(at=ctx.now, why=drop.why), ctx)

    def notified(
        self,
        standing: Standing,
        said: tuple[Kind, Severity],
        notice: Notified,
        thread_id: str,
        escalates_at: datetime | None,
        ctx: Context,
    ) -> None:
        """Record that a notification was sent; later changes are part of the next one.

        Args:
            standing: where it stands now.
            said: the notice's kind and severity.
            notice: which one it was.
            thread_id: the thread of the notice.
            escalates_at: when somebody else is notified if nobody acknowledges it.
            ctx: the transaction.
        """
        kind, severity = said
        measures.hold(standing, None, ctx)
        _write(standing, notice)
        known = changed(
            standing,
            history=extended(standing.history, notice),
            said=kind,
            heard=worst([severity, *([standing.heard] if standing.heard else [])]),
            notices=standing.notices + 1,
            thread_id=standing.thread_id or thread_id,
            held_by="",
            cause="",
        )
        flap_notices.notified(known, ctx)
        announced = kind == "flapping"
        if standing.ended and (announced or kind == standing.tell):
            self._over(known, None, ctx)
            return
        update: dict[str, object]
        if announced:
            # It waits to be notified by itself if it lasts.
            update = {"status": StandingStatus.PENDING, "due": ctx.now, "urgent": False}
        elif (standing.tell, standing.severity) == (kind, severity):
            update = {"status": StandingStatus.NOTIFIED, "due": escalates_at, "urgent": False}
        else:
            # It has changed since the notification was created; the next one includes that.
            waits = standing.status is StandingStatus.WAITING
            update = {} if waits else {"status": StandingStatus.PENDING, "due": ctx.now}
        ctx.records.put(STANDINGS, changed(known, **update))

    def notified_again(
        self, standing: Standing, notice: Notified, due: datetime | None, ctx: Context
    ) -> None:
        """Record that a notification of a missing acknowledgement was sent."""
        _write(standing, notice)
        history = extended(standing.history, notice)
        update = {"history": history, "notices": standing.notices + 1, "due": due}
        ctx.records.put(STANDINGS, changed(standing, **update))

    def _over(self, standing: Standing, last: NotNotified | None, ctx: Context) -> None:
        """End its notifications, and keep their history."""
        facts = [last] if last else []
        _write(standing, *facts)
        history = extended(standing.history, *facts)
        heard = Heard(incident_id=standing.incident_id, history=history, due=ctx.now + self._keep)
        ctx.records.put(HEARD, heard)
        ctx.records.delete(STANDINGS, standing.incident_id)


def look_again(ctx: Context) -> None:
    """Check all held alerts again, because a silence or window may have changed."""
    held = ctx.records.find(STANDINGS, status=StandingStatus.HELD, limit=_MAX_HELD)
    silenced = [standing for standing in held if standing.held_by.startswith("silence")]
    again = [changed(standing, due=ctx.now) for standing in silenced]
    ctx.records.put_all(STANDINGS, again)


def _write(standing: Standing, *facts: Fact) -> None:
    decision_log.write(standing.incident_id, standing.series, standing.traceparent, *facts)
