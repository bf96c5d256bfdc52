"""The summaries of a storm: sent in one transaction, and recorded in parts in further ones.

A summary names thousands of alerts. The number of its recorded rows is part of the storm's state,
so that after a crash recording goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from services.healer.model.narrative import Notified
from services.healer.model.notice import Summary
from services.healer.model.notification import (
    NOTICES,
    NOTIFICATION_STATES,
    STORM,
    NotificationState,
    NotificationStatus,
    Settling,
    StormState,
)
from services.healer.notify import escalation, storms
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.filters import Filters, Hold
from services.healer.notify.notification_log import NotificationLog
from services.healer.notify.settings import Alerting
from services.healer.notify.sifting import sifted
from shared.changes import changed
from shared.service import Context

_ESCALATED = 10
_UNHEARD = frozenset({NotificationStatus.WAITING, NotificationStatus.PENDING})
Holds = Mapping[str, Hold]
"""The hold of each incident that a summary attaches to a cause."""


class StormSummaries:
    """Sends summaries and records the notified alerts, ``at_once`` rows per transaction."""

    def __init__(
        self, alerting: Alerting, dispatch: Dispatch, log: NotificationLog, at_once: int
    ) -> None:
        self._alerting = alerting
        self._dispatch = dispatch
        self._log = log
        self._at_once = at_once

    def parts(
        self,
        state: StormState,
        tell: Sequence[NotificationState],
        attached: Mapping[str, tuple[NotificationState, Hold]],
        now: datetime,
    ) -> list[Callable[[Context], None]]:
        """The parts that send the next summary of the storm and record it."""
        how, fresh = self._alerting.storm, len(tell) + len(attached)
        over = state.active and fresh <= how.alerts // 2
        after = storms.goes_on(state, fresh, now, how)
        effects = [changed(s, cause=hold.cause) for s, hold in attached.values()]
        summary = storms.summary(after, tell, effects, now, how, over=over)
        if over:
            after = storms.noted(StormState(), len(tell), len(attached), now, how)
        holds = {incident: hold for incident, (_, hold) in attached.items()}
        send = partial(self._send, summary, state, after)
        return [send, *self._writing(summary, holds, 0)]

    def rest(self, settling: Settling, ctx: Context) -> list[Callable[[Context], None]]:
        """The parts that complete an interrupted recording of a summary."""
        record = ctx.records.get(NOTICES, settling.message_id)
        if record is None or not isinstance(record.notice, Summary):
            return [self._settled]
        left = [row.incident_id for row in record.notice.rows[settling.done :] if row.cause]
        ctx.records.read_ahead(NOTIFICATION_STATES, keys=left)
        found = [
            notification
            for each in left
            if (notification := ctx.records.get(NOTIFICATION_STATES, each))
        ]
        filters = Filters(self._alerting, ctx.records, ctx.now)
        held = sifted(found, filters).attached()
        holds = {incident: hold for incident, (_, hold) in held.items()}
        return self._writing(record.notice, holds, settling.done)

    def _send(self, summary: Summary, before: StormState, after: StormState, ctx: Context) -> None:
        if (ctx.records.get(STORM, "storm") or StormState()) != before:
            return  # another summary was sent meanwhile, or the clock was set
        deliveries = self._dispatch.put(summary, ctx, keep=True)
        settling = Settling(message_id=summary.message_id, deliveries=deliveries)
        ctx.records.put(STORM, changed(after, settling=settling))

    def _writing(
        self, summary: Summary, holds: Holds, done: int
    ) -> list[Callable[[Context], None]]:
        starts = range(done, len(summary.rows), self._at_once)
        return [*(partial(self._write, summary, holds, start) for start in starts), self._settled]

    def _write(self, summary: Summary, holds: Holds, start: int, ctx: Context) -> None:
        """Record some of its rows, unless they are recorded."""
        state = ctx.records.get(STORM, "storm")
        settling = state.settling if state else None
        if state is None or settling is None or settling.done != start:
            return
        if settling.message_id != summary.message_id:
            return
        end = start + self._at_once
        rows = summary.rows[start:end]
        ctx.records.read_ahead(NOTIFICATION_STATES, keys=[row.incident_id for row in rows])
        thread = summary.thread_id or summary.message_id
        for number, row in enumerate(rows, start):
            notification = ctx.records.get(NOTIFICATION_STATES, row.incident_id)
            if notification is None:
                continue
            if row.cause:
                self._attach(notification, holds.get(row.incident_id), ctx)
                continue
            fact = Notified(
                at=ctx.now,
                said=row.kind,
                message_id=settling.message_id,
                deliveries=settling.deliveries,
            )
            due = escalation.due_at(notification, ctx.now, self._alerting)
            escalates_at = due if number < _ESCALATED else None
            said = (row.kind, row.severity)
            self._log.notified(notification, said, fact, thread, escalates_at, ctx)
        ctx.records.put(
            STORM,
            changed(state, settling=changed(settling, done=end)),
        )

    def _attach(self, notification: NotificationState, hold: Hold | None, ctx: Context) -> None:
        """Hold it by its cause, unless it has changed; then the next summary includes it."""
        if hold is not None and not notification.ended and notification.status in _UNHEARD:
            self._log.hold(notification, hold, ctx)

    @staticmethod
    def _settled(ctx: Context) -> None:
        state = ctx.records.get(STORM, "storm")
        if state is not None and state.settling is not None:
            ctx.records.put(STORM, changed(state, settling=None))
