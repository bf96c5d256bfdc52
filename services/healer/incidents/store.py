"""The store of incidents, and the effects of storing one on notices and subscribers.

Storing an incident publishes its change to the subscribers of alerts; telling it puts a notice to
people on its way; asking remembers a command whose answer is awaited.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.healer.model.commands import COMMANDS, Command
from services.healer.model.incident import INCIDENTS, Incident, News
from services.healer.model.narrative import Ended
from services.healer.model.notification import STANDINGS, Standing, StandingStatus
from services.healer.model.policy import worse
from services.healer.model.transitions import Phase, collected
from services.healer.notify.standings import standing_of
from services.healer.settings import HealerSettings
from shared.contracts import AlertChanged, EvidenceCollected, Message
from shared.contracts.alerts import AlertState, Severity
from shared.contracts.message import deterministic_id
from shared.service import Context

FOREVER = 2**62
_ANSWERS_KEPT = timedelta(days=1)


class Chronicle:
    """The incidents' records, under these settings."""

    def __init__(self, settings: HealerSettings) -> None:
        self._settings = settings

    @staticmethod
    @collected
    def store(
        before: Incident | None, now: Incident, ctx: Context, outcome: str = ""
    ) -> Iterator[Message]:
        """Store it, and publish what subscribers of alerts should know."""
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
            value=now.sight.value,
            threshold=now.sight.threshold,
            crossing_ms=now.sight.crossing_ms,
            sentence=now.sight.sentence,
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
        """The end; signals still open count as dealt with up to ``until_ms``."""
        incident = incident.tells(Ended(at=ctx.now, how=outcome, value=incident.left_at))
        if incident.handling != "none":
            incident = self.tell(incident, tell, ctx)
        forget = ctx.now + timedelta(days=self._settings.keep_days)
        closed = incident.closed(ctx.now, forget, handled=tell == "handled", until_ms=until_ms)
        yield from self.store(None, closed, ctx, outcome)

    def tell(
        self,
        incident: Incident,
        tell: News,
        ctx: Context,
        found: EvidenceCollected | None = None,
        note: str = "",
    ) -> Incident:
        """People are to be notified; when and how is the announcer's business."""
        if found is not None and not found.rows:
            note = note or f"{found.title}: nothing was found."
        notified = incident.notified(found)
        known = incident.mails or incident.phase is not Phase.WAITING
        old = ctx.records.get(STANDINGS, incident.incident_id) if known else None
        fires = incident.state is AlertState.FIRING
        rises = (
            old is None
            or worse(incident.severity, old.severity)
            or (fires and old.state is AlertState.PREDICTED)
        )
        if old is not None and old.said == tell and not rises:
            return notified  # a storm's summary has said it already
        critical = incident.severity is Severity.CRITICAL and tell in {"firing", "predicted"}
        new = self._standing(incident)
        changes = {
            "status": StandingStatus.PENDING,
            "tell": tell,
            "note": note,
            "severity": new.severity,
            "state": new.state,
            "crossing_ms": new.crossing_ms,
            "labels": new.labels,
            "value": new.value,
            "sentence": new.sentence,
            "signal": new.signal,
            "ended": tell in {"resolved", "handled"},
            "due": ctx.now + timedelta(seconds=self._settings.alerting.group_wait_s),
            "urgent": tell == "escalated" or (rises and critical),
        }
        ctx.records.put(STANDINGS, (old or new).model_copy(update=changes))
        return notified

    def expect(self, incident: Incident, ctx: Context) -> None:
        """People will be notified when the machine has answered; a storm does not wait for that."""
        if incident.mails:
            self.come(incident, ctx)
        else:
            ctx.records.put(STANDINGS, self._standing(incident))

    def come(self, incident: Incident, ctx: Context) -> None:
        """Give a notice that still waits as a prediction what the alert has become meanwhile.

        It is no prediction once the alarm has come, and it is to come when the newest one says so:
        by an older one it would be held back as past.
        """
        old, new = ctx.records.get(STANDINGS, incident.incident_id), self._standing(incident)
        if old is None or old.ended or old.status not in {"waiting", "pending", "held"}:
            return
        to_come = incident.state is AlertState.PREDICTED
        crossing_ms = incident.sight.crossing_ms if to_come else None
        moved = new.state is not old.state or crossing_ms not in {None, old.crossing_ms}
        if old.tell == "predicted" and moved:
            fields = ("state", "value", "sentence", "signal", "severity", "labels")
            now = {name: getattr(new, name) for name in fields}
            now |= {"tell": new.state.value, "crossing_ms": crossing_ms}
            ctx.records.put(STANDINGS, old.model_copy(update=now))

    def _standing(self, incident: Incident) -> Standing:
        return standing_of(incident, self._settings.alerting.group_by)

    @staticmethod
    def asking(incident: Incident, phase: Phase, wait: timedelta, ctx: Context) -> str:
        """The id of a command that goes out; its answer is awaited for so long."""
        about = (incident.incident_id, phase, incident.attempts, incident.mails)
        command_id = deterministic_id("command", *about)
        due = ctx.now + _ANSWERS_KEPT + wait
        command = Command(command_id=command_id, incident_id=incident.incident_id, due=due)
        ctx.records.put(COMMANDS, command)
        return command_id


def _as_seen(incident: Incident) -> tuple[object, ...]:
    """The fields by which an alert's subscribers see a change."""
    predicted = incident.state is AlertState.PREDICTED
    crossing_ms = incident.sight.crossing_ms if predicted else None
    return (
        incident.state,
        incident.severity,
        incident.handling,
        crossing_ms,
        incident.acknowledged_by,
    )
