"""Requests evidence and the plan before people are notified."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.healer.incidents import answers
from services.healer.incidents.answers import no_evidence, no_plan
from services.healer.incidents.store import IncidentStore
from services.healer.model.incident import INCIDENTS, Incident, Missing, News
from services.healer.model.narrative import Answered, Decided
from services.healer.model.notification import STORM
from services.healer.model.transitions import Phase, collected
from services.healer.notify.compose import ASKABLE
from services.healer.settings import HealerSettings
from shared.contracts import EvidenceCollect, EvidenceCollected, Message
from shared.service import Context


class EvidenceRequests:
    """Requests evidence and plans before people are notified, under these settings."""

    def __init__(self, settings: HealerSettings, incidents: IncidentStore) -> None:
        self._settings = settings
        self._incidents = incidents

    def why(
        self, incident: Incident, tell: News, ctx: Context, *, planning: bool = False
    ) -> tuple[Incident, list[Message]]:
        """Prepare a notification: request the machine's evidence first, besides the plan."""
        notified = incident.telling(tell)
        if not planning or incident.handling != "approve":
            notified = notified.handled_by("mail")
        storm = ctx.records.get(STORM, "storm")
        # During a storm, people do not read evidence, so thousands of machines are not asked.
        stormy = storm is not None and storm.active
        asks = notified.family in ASKABLE and not stormy
        if not asks and not planning:
            note = answers.STORM if notified.family in ASKABLE else ""
            telling = self._incidents.request_notification(notified, tell, ctx, note=note)
            return telling.complete(*telling.missing).resting(), []
        self._incidents.expect_notification(notified, ctx)
        wait = timedelta(seconds=self._settings.evidence_wait_s)
        command_id = self._incidents.new_command(notified, Phase.EVIDENCE, wait, ctx)
        missing: tuple[Missing, ...] = ("evidence",) if asks else ()
        if planning:
            missing = (*missing, "plan")
        asking = notified.awaiting(command_id, ctx.now + wait, missing)
        if not asks:
            return asking, []
        question = EvidenceCollect(
            command_id=asking.command_id,
            host=asking.series.host,
            family=asking.family,
            path=asking.series.labels.get("mount", "")[:4096],
            reply_by=ctx.now + wait,
        )
        return asking, [question]

    def answered(self, incident: Incident, found: EvidenceCollected, ctx: Context) -> None:
        """Notify people with the evidence, unless the plan is still missing."""
        fact = Answered(at=ctx.now, title=found.title, rows=len(found.rows))
        self.notify_when_complete(incident.with_evidence(found).tells(fact), ctx)

    def notify_when_complete(self, incident: Incident, ctx: Context) -> None:
        """Store what has arrived; when it is complete, notify people."""
        if incident.missing or incident.phase is not Phase.EVIDENCE:
            ctx.records.put(INCIDENTS, incident)
            return
        notified = self._incidents.request_notification(
            incident, incident.tell, ctx, incident.evidence
        )
        ctx.records.put(INCIDENTS, notified.resting())

    @collected
    def escalate(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """Notify a person, with evidence, because automatic handling failed."""
        failed = incident.noted(reason).tells(Decided(at=ctx.now, words=reason))
        if not failed.signals:
            gone = failed.gone_since is not None
            how = "its series sends nothing any more" if gone else "ended by itself"
            yield from self._incidents.close(failed, f"{how}; {reason}", ctx)
            return
        asked, commands = self.why(failed.handled_by("mail"), "escalated", ctx)
        yield from self._incidents.store(incident, asked, ctx)
        yield from commands

    def overdue(self, incident: Incident, ctx: Context) -> None:
        """Notify people of what is known, because an answer did not arrive in time."""
        note = self._silence(incident, ctx)
        notified = self._incidents.request_notification(
            incident.complete(*incident.missing).tells(Answered(at=ctx.now, note=note)),
            incident.tell,
            ctx,
            note=note,
        )
        ctx.records.put(INCIDENTS, notified.resting())

    def _silence(self, incident: Incident, ctx: Context) -> str:
        """The parts that did not arrive in time, in words."""
        wait = self._settings.evidence_wait_s
        missing = incident.missing or ("evidence",)
        notes = []
        if "evidence" in missing:
            notes.append(no_evidence(incident.series.host, wait, ctx))
        if "plan" in missing:
            notes.append(no_plan(incident.remediation, wait))
        return " ".join(notes)
