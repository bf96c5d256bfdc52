"""The log of notifications: people were notified, an alert is held back, or it is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.model import decision_log
from services.healer.model.narrative import Fact, Held, Notified, NotNotified, extended
from services.healer.model.notice import Kind
from services.healer.model.notification import HEARD, STANDINGS, Heard, Standing, StandingStatus
from services.healer.notify import flap_notices, measures
from services.healer.notify.filters import Drop, Hold
from shared.contracts.alerts import Severity
from shared.observe import ALERTS_HELD
from shared.service import Context


class NotificationLog:
    """Writes it down; the history of what is over is kept for ``keep``."""

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep

    def hold(self, standing: Standing, hold: Hold, ctx: Context) -> None:
        """It is held back for now, and looked at again."""
        measures.hold(standing, hold, ctx)
        fact = Held(at=ctx.now, by=hold.by, until=hold.until, cause=hold.cause)
        update = {
            "status": StandingStatus.HELD,
            "held_by": hold.by,
            "due": hold.until,
            "cause": hold.cause,
            "history": extended(standing.history, fact),
        }
        ctx.records.put(STANDINGS, standing.model_copy(update=update))
        if standing.status is not StandingStatus.HELD:
            _write(standing, fact)
            ALERTS_HELD.labels(hold.by.partition(" ")[0]).inc()

    def drop(self, standing: Standing, drop: Drop, ctx: Context) -> None:
        """There is nothing to notify anybody of any more."""
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
        """A notice said this of it; what has ended since is told in the next one.

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
        known = standing.model_copy(
            update={
                "history": extended(standing.history, notice),
                "said": kind,
                "notices": standing.notices + 1,
                "thread_id": standing.thread_id or thread_id,
                "held_by": "",
                "cause": "",
            }
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
            # It has changed since the notice was made: that is told in the next one.
            waits = standing.status is StandingStatus.WAITING
            update = {} if waits else {"status": StandingStatus.PENDING, "due": ctx.now}
        ctx.records.put(STANDINGS, known.model_copy(update=update))

    def _over(self, standing: Standing, last: NotNotified | None, ctx: Context) -> None:
        """Nothing more is to be said of it; what was, and what not, is remembered."""
        facts = [last] if last else []
        _write(standing, *facts)
        history = extended(standing.history, *facts)
        heard = Heard(incident_id=standing.incident_id, history=history, due=ctx.now + self._keep)
        ctx.records.put(HEARD, heard)
        ctx.records.delete(STANDINGS, standing.incident_id)


def _write(standing: Standing, *facts: Fact) -> None:
    decision_log.write(standing.incident_id, standing.series, standing.traceparent, *facts)
