"""Escalation: who is notified next, and when again, while nobody acknowledges an alert."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.model.notification import NotificationState
from services.healer.model.policy import RANK
from services.healer.notify.render.numbers import span
from services.healer.notify.settings import Alerting, Escalation
from shared.contracts.alerts import AlertState, Severity


def next_call(notification: NotificationState, how: Alerting) -> Escalation | None:
    """The next step of escalation, if there is one for such an alert."""
    step = next(iter(how.escalation[notification.step :]), None)
    if step is None or RANK[notification.severity] < RANK[step.min_severity]:
        return None
    return step


def is_repeated(notification: NotificationState, how: Alerting) -> bool:
    """Return whether people are reminded of it: critical, firing, and nobody else is called."""
    return (
        how.repeat_interval_s > 0
        and notification.severity is Severity.CRITICAL
        and notification.state is not AlertState.PREDICTED
        and not notification.acknowledged
        and not notification.ended
        and next_call(notification, how) is None
    )


def due_at(notification: NotificationState, now: datetime, how: Alerting) -> datetime | None:
    """Return when somebody is notified next if nobody acknowledges the alert; None: nobody is."""
    if notification.acknowledged:
        return None
    if step := next_call(notification, how):
        return now + timedelta(seconds=step.after_s)
    if is_repeated(notification, how):
        return now + timedelta(seconds=how.repeat_interval_s)
    return None


def next_step(notification: NotificationState, now: datetime, how: Alerting) -> str:
    """The next step if nobody acts, in words."""
    due, step = due_at(notification, now, how), next_call(notification, how)
    if due is not None and step is not None:
        names = ", ".join(step.channels)
        return f"If nobody acknowledges it by {due:%H:%M:%S} UTC, {names} will be notified."
    again = "resolves or becomes more severe"
    if notification.state is AlertState.PREDICTED:
        again = "fires, or is no longer expected to"
    if due is not None:
        after = span(timedelta(seconds=how.repeat_interval_s))
        again += f", and every {after} until somebody acknowledges it"
    return f"Nobody else is notified. You will be notified again when it {again}."
