"""The store of incidents, and the effects of storing one on notices and subscribers.

Storing an incident publishes its change to the subscribers of alerts. A requested notification is
stored for the announcer, and a command until its answer arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.healer.model.commands import COMMANDS, Command
from services.healer.model.incident import INCIDENTS, Incident, News
from services.healer.model.narrative import Ended
from services.healer.model.notice import ENDINGS
from services.healer.model.notification import (
    NOTIFICATION_STATES,
    NotificationState,
    NotificationStatus,
)
from services.healer.model.policy import worse
from services.healer.model.transitions import Phase, collected
from services.healer.notify.notification_states import notification_of
from services.healer.settings import HealerSettings
from shared.changes import changed
from shared.contracts import AlertChanged, EvidenceCollected, Message
from shared.contracts.alerts import AlertState, Severity
from shared.contracts.message import deterministic_id
from shared.service import Context

FOREVER = 2**62
_ANSWERS_KEPT = timedelta(days=1)


class IncidentStore:
    """The incidents' records, under these settings."""

    def __init__(self, settings: HealerSettings) -> None:
        self._settings = settings

    @staticmethod
    @collected
    def store(
        before: Incident | None, now: Incident, ctx: Context, outcome: str = ""
    ) -> Iterator[Message]:
        """Store the incident, and publish its change to subscribers."""
        if before is not None and _as_seen(before) == _as_seen(now):
            ctx.records.put(INCIDENTS, now)
            return
        now = now.published()
        ctx.records.put(INCIDENTS, now)
        yield AlertChanged(
            alert_id=now.incident_id,
            sequence=now.sequence,
            state=now.state,
            severity=now.severity,
            family=now.family,
            series=now.series,
            value=now.observation.value,
            threshold=now.observation.threshold,
            crossing_ms=now.observation.crossing_ms,
            sentence=now.observation.sentence,
            handling=now.handling,
            acknowledged_by=now.acknowledged_by,
            outcome=outcome,
            at=ctx.now,
        )

    @collected
    def close(
        self,
        incident: Incident,
        outcome: str,
        ctx: Context,
        tell: News = "resolved",
        until_ms: int = FOREVER,
    ) -> Iterator[Message]:
        """Close the incident; signals still open count as handled up to ``until_ms``."""
        value = incident.left_at if incident.gone_since is None else None
        incident = incident.tells(Ended(at=ctx.now, how=outcome, value=value))
        if incident.handling != "none":
            incident = self.request_notification(incident, tell, ctx)
        forget = ctx.now + timedelta(days=self._settings.keep_days)
        closed = incident.closed(ctx.now, forget, handled=tell == "handled", until_ms=until_ms)
        yield from self.store(None, closed, ctx, outcome)

    def request_notification(
        self,
        incident: Incident,
        tell: News,
        ctx: Context,
        found: EvidenceCollected | None = None,
        note: str = "",
    ) -> Incident:
        """Request a notification; the announcer decides when and how it is sent."""
        if found is not None and not found.rows:
            note = note or f"{found.title}: nothing was found."
        notified = incident.notified(found)
        known = incident.mails or incident.phase is not Phase.WAITING
        old = ctx.records.get(NOTIFICATION_STATES, incident.incident_id) if known else None
        rises = old is None or _has_risen(incident, old)
        if old is not None and old.said == tell and not rises:
            return notified  # a storm's summary has said it already
        critical = incident.severity is Severity.CRITICAL and tell in {"firing", "predicted"}
        urgent = tell == "escalated" or (rises and critical)
        requested = self._requested(incident, tell, note, old, ctx)
        ctx.records.put(NOTIFICATION_STATES, changed(requested, urgent=urgent))
        return notified

    def _requested(
        self,
        incident: Incident,
        tell: News,
        note: str,
        old: NotificationState | None,
        ctx: Context,
    ) -> NotificationState:
        """The notification state, in which the next notice shows the incident as it is now."""
        new, ended = self._notification(incident), tell in ENDINGS
        if ended and old is not None and old.heard is not None:
            labels = new.labels | {"severity": old.heard.value}
            new = changed(new, severity=old.heard, labels=labels)
        changes = {
            "status": NotificationStatus.PENDING,
            "tell": tell,
            "note": note,
            "severity": new.severity,
            "state": new.state,
            "crossing_ms": new.crossing_ms,
            "labels": new.labels,
            "value": new.value,
            "sentence": new.sentence,
            "signal": new.signal,
            "ended": ended,
            "gone": new.gone,
            "acknowledged": new.acknowledged,
            "due": ctx.now + timedelta(seconds=self._settings.alerting.group_wait_s),
        }
        if old is not None and old.acknowledged and not new.acknowledged:
            changes["step"] = 0
        return changed(old or new, **changes)

    def expect_notification(self, incident: Incident, ctx: Context) -> None:
        """Prepare a notification that waits for the machine's answer, except in a storm."""
        if incident.mails:
            self.update_waiting(incident, ctx)
        else:
            ctx.records.put(NOTIFICATION_STATES, self._notification(incident))

    def update_waiting(self, incident: Incident, ctx: Context) -> None:
        """Update a waiting notification of a prediction with the alert's present state.

        It is about no prediction once the alarm has fired. Its crossing time is that of the newest
        prediction: with that of an older one it would be held back as past.
        """
        old, new = (
            ctx.records.get(NOTIFICATION_STATES, incident.incident_id),
            self._notification(incident),
        )
        if old is None or old.ended or old.status not in {"waiting", "pending", "held"}:
            return
        to_come = incident.state is AlertState.PREDICTED
        crossing_ms = incident.observation.crossing_ms if to_come else None
        moved = new.state is not old.state or crossing_ms not in {None, old.crossing_ms}
        if moved and (old.tell == "predicted" or old.crossing_ms is not None):
            fields = ("state", "value", "sentence", "signal", "severity", "labels")
            now = {name: getattr(new, name) for name in fields}
            tell = new.state.value if old.tell == "predicted" else old.tell
            now |= {"tell": tell, "crossing_ms": crossing_ms}
            ctx.records.put(NOTIFICATION_STATES, changed(old, **now))

    def _notification(self, incident: Incident) -> NotificationState:
        return notification_of(incident, self._settings.alerting.group_by)

    @staticmethod
    def new_command(incident: Incident, phase: Phase, wait: timedelta, ctx: Context) -> str:
        """Record a new command, whose answer is awaited for ``wait``, and return its id."""
        about = (incident.incident_id, phase, incident.attempts, incident.mails)
        command_id = deterministic_id("command", *about)
        due = ctx.now + _ANSWERS_KEPT + wait
        command = Command(command_id=command_id, incident_id=incident.incident_id, due=due)
        ctx.records.put(COMMANDS, command)
        return command_id


def _has_risen(incident: Incident, old: NotificationState) -> bool:
    """Return whether the incident is worse than at its last request for a notification."""
    fires = incident.state is AlertState.FIRING and old.state is AlertState.PREDICTED
    return fires or worse(incident.severity, old.severity)


def _as_seen(incident: Incident) -> tuple[object, ...]:
    """The fields by which an alert's subscribers see a change."""
    predicted = incident.state is AlertState.PREDICTED
    crossing_ms = incident.observation.crossing_ms if predicted else None
    return (
        incident.state,
        incident.severity,
        incident.handling,
        crossing_ms,
        incident.acknowledged_by,
    )
