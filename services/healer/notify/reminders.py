"""Escalates alerts that nobody has acknowledged, and then reminds people of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.narrative import Notified
from services.healer.model.notification import (
    NOTIFICATION_STATES,
    NotificationState,
    NotificationStatus,
)
from services.healer.model.policy import Policy
from services.healer.notify import escalation
from services.healer.notify.compose import line
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.filters import Filters
from services.healer.notify.notices import notice_of
from services.healer.notify.notification_log import NotificationLog
from services.healer.notify.settings import Alerting
from shared.changes import changed
from shared.contracts.alerts import AlertState, Severity
from shared.service import Context

_MAX_AT_ONCE = 200
_RECHECK = timedelta(seconds=60)
"""The time until a reminder held by a silence or a cause is checked again."""


class Reminders:
    """Notifies again of alerts that are notified and not acknowledged, but in no silence."""

    def __init__(
        self, alerting: Alerting, policy: Policy, dispatch: Dispatch, log: NotificationLog
    ) -> None:
        self._alerting = alerting
        self._policy = policy
        self._dispatch = dispatch
        self._log = log

    def send(self, ctx: Context) -> None:
        """Call or remind those whose time has come."""
        filters = Filters(self._alerting, ctx.records, ctx.now)
        groups: dict[str, list[tuple[NotificationState, Incident]]] = {}
        for notification in ctx.records.find(
            NOTIFICATION_STATES,
            status=NotificationStatus.NOTIFIED,
            due_before=ctx.now,
            limit=_MAX_AT_ONCE,
        ):
            incident = ctx.records.get(INCIDENTS, notification.incident_id)
            step = escalation.next_call(notification, self._alerting)
            if incident is None or escalation.due_at(notification, ctx.now, self._alerting) is None:
                ctx.records.put(NOTIFICATION_STATES, changed(notification, due=None))
            elif step is not None and not filters.is_silenced(notification):
                self._call(notification, incident, step.channels, ctx)
            elif step is None and _is_grave(incident) and not filters.is_muted(notification):
                groups.setdefault(notification.group, []).append((notification, incident))
            else:
                ctx.records.put(NOTIFICATION_STATES, changed(notification, due=ctx.now + _RECHECK))
        for group, due in groups.items():
            self._remind(group, due, filters, ctx)

    def _call(
        self,
        notification: NotificationState,
        incident: Incident,
        channels: tuple[str, ...],
        ctx: Context,
    ) -> None:
        """Notify the channels of the next step; they are notified of the end, too."""
        called = tuple(dict.fromkeys((*notification.called, *channels)))
        following = changed(notification, step=notification.step + 1, called=called)
        notice = notice_of(following, incident, "unanswered", self._alerting, self._policy, ctx)
        deliveries = self._dispatch.put(notice, ctx, only=channels)
        self._note([following], notice.message_id, deliveries, ctx)

    def _remind(
        self,
        group: str,
        due: list[tuple[NotificationState, Incident]],
        filters: Filters,
        ctx: Context,
    ) -> None:
        """One notice reminds of all alerts of the group that nobody takes care of."""
        first = [notification for notification, _ in due]
        notified = ctx.records.find(
            NOTIFICATION_STATES, status=NotificationStatus.NOTIFIED, group=group, limit=_MAX_AT_ONCE
        )
        others = [
            notification
            for notification in notified
            if notification not in first
            and escalation.is_repeated(notification, self._alerting)
            and (found := ctx.records.get(INCIDENTS, notification.incident_id)) is not None
            and _is_grave(found)
            and not filters.is_muted(notification)
        ]
        members = [*first, *others]
        main, incident = due[0]
        notice = notice_of(main, incident, "unanswered", self._alerting, self._policy, ctx)
        notice = changed(
            notice,
            also=tuple(line(each, "unanswered") for each in members[1:]),
            references=tuple(each.thread_id for each in members[1:] if each.thread_id),
        )
        called = [name for each in members for name in each.called]
        deliveries = self._dispatch.put(notice, ctx, called=called)
        self._note(members, notice.message_id, deliveries, ctx)

    def _note(
        self,
        notifications: Iterable[NotificationState],
        message_id: str,
        deliveries: int,
        ctx: Context,
    ) -> None:
        fact = Notified(at=ctx.now, said="unanswered", message_id=message_id, deliveries=deliveries)
        for notification in notifications:
            due = escalation.due_at(notification, ctx.now, self._alerting)
            self._log.notified_again(notification, fact, due, ctx)


def _is_grave(incident: Incident) -> bool:
    """Return whether it is what people were notified of: its worst signal may have ended."""
    return incident.severity is Severity.CRITICAL and incident.state is AlertState.FIRING
