"""What is written down of an incident, and what follows from that for others.

Storing an incident publishes its change to the subscribers of alerts; telling it puts a notice to
people on its way; asking remembers a command whose answer is awaited.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.healer.mail.content import Notice
from services.healer.notices import compose
from services.healer.records import COMMANDS, INCIDENTS, MAILS, Command, Incident, Mail, Phase, Told
from services.healer.settings import HealerSettings
from shared.contracts import AlertChanged, EvidenceCollected, Message
from shared.contracts.alerts import AlertState
from shared.contracts.message import deterministic_id
from shared.service import Context

FOREVER = 2**62
_ANSWERS_KEPT = timedelta(days=1)


class Chronicle:
    """The incidents' records, under these settings."""

    def __init__(self, settings: HealerSettings) -> None:
        self._settings = settings

    @staticmethod
    def store(
        before: Incident | None, now: Incident, ctx: Context, outcome: str = ""
    ) -> Iterator[Message]:
        """Store it, and publish what subscribers of alerts should know."""
        if before is not None and _as_seen(before) == _as_seen(now):
            ctx.records.put(INCIDENTS, now)
            return
        now = now.model_copy(update={"sequence": now.sequence + 1})
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
            outcome=outcome,
            at=ctx.now,
        )

    def close(
        self,
        incident: Incident,
        outcome: str,
        ctx: Context,
        tell: Told = "resolved",
        until_ms: int = FOREVER,
    ) -> Iterator[Message]:
        """The end; signals still open count as dealt with up to ``until_ms``."""
        if incident.handling != "none":
            ending = incident.model_copy(update={"actions": (*incident.actions, outcome)})
            incident = self.tell(ending if tell == "resolved" else incident, tell, ctx)
        ended = incident.ended | dict.fromkeys(incident.signals, until_ms)
        update = {
            "state": AlertState.RESOLVED,
            "signals": {},
            "ended": ended,
            "phase": Phase.CLOSED,
            "command_id": "",
            "due": ctx.now + timedelta(days=self._settings.keep_days),
        }
        yield from self.store(None, incident.model_copy(update=update), ctx, outcome)

    def tell(
        self,
        incident: Incident,
        tell: Told,
        ctx: Context,
        found: EvidenceCollected | None = None,
        note: str = "",
    ) -> Incident:
        """Put a mail on its way; without a recipient there is none."""
        if not self._settings.recipients:
            return incident
        told = incident.model_copy(update={"mails": incident.mails + 1})
        notice: Notice = compose(told, tell, ctx.now, found, note)
        ctx.records.put(MAILS, Mail(notice=notice, due=ctx.now))
        return told

    @staticmethod
    def asking(incident: Incident, phase: Phase, wait: timedelta, ctx: Context) -> Incident:
        """A command goes out under a new id; its answer is awaited until ``due``."""
        about = (incident.incident_id, phase, incident.attempts, incident.mails)
        command_id = deterministic_id("command", *about)
        due = ctx.now + _ANSWERS_KEPT + wait
        command = Command(command_id=command_id, incident_id=incident.incident_id, due=due)
        ctx.records.put(COMMANDS, command)
        update = {"phase": phase, "command_id": command_id, "due": ctx.now + wait}
        return incident.model_copy(update=update)

    def rest(self, incident: Incident, ctx: Context) -> None:
        ctx.records.put(INCIDENTS, self.resting(incident))

    @staticmethod
    def resting(incident: Incident) -> Incident:
        """Nothing to do until a signal comes, ends, or its time is up."""
        times = [s.until for s in incident.signals.values() if s.until is not None]
        update = {"phase": Phase.WAITING, "command_id": "", "due": min(times, default=None)}
        return incident.model_copy(update=update)


def _as_seen(incident: Incident) -> tuple[object, ...]:
    """What an alert's subscribers can tell apart."""
    predicted = incident.state is AlertState.PREDICTED
    crossing_ms = incident.sight.crossing_ms if predicted else None
    return incident.state, incident.severity, incident.handling, crossing_ms
