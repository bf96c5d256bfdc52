"""Escalation: who is notified next while nobody says that they take care of an alert."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.model.notification import Standing
from services.healer.model.policy import RANK
from services.healer.notify.settings import Alerting


def due_at(standing: Standing, now: datetime, how: Alerting) -> datetime | None:
    """When the next step is due if nobody acknowledges the alert; None: there is none."""
    if standing.acknowledged or standing.step >= len(how.escalation):
        return None
    step = how.escalation[standing.step]
    if RANK[standing.severity] < RANK[step.min_severity]:
        return None
    return now + timedelta(seconds=step.after_s)


def next_step(standing: Standing, now: datetime, how: Alerting) -> str:
    """The next step if nobody acts, in words."""
    due = due_at(standing, now, how)
    if due is None:
        return "Nobody else is called. You hear again when it ends or grows worse."
    names = ", ".join(how.escalation[standing.step].channels)
    return f"If nobody acknowledges it until {due:%H:%M:%S} UTC, it goes to {names}."
