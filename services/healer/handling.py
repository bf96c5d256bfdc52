"""How an incident is handled: by a remediation that is verified, or by a person with evidence.

Answers that come late, twice or for another incident change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.healer.alerting.records import STORM
from services.healer.chronicle import Chronicle
from services.healer.notices import ASKABLE
from services.healer.policy import Mode, Past
from services.healer.records import INCIDENTS, RUNS, Incident, Phase, Run, Told, series_key
from services.healer.settings import HealerSettings
from shared.contracts import (
    EvidenceCollect,
    EvidenceCollected,
    ItemRead,
    Message,
    RemediationExecute,
    RemediationVerified,
)
from shared.service import Context

_HOUR = timedelta(hours=1)


class Handling:
    """What is done about incidents, under these settings."""

    def __init__(self, settings: HealerSettings, chronicle: Chronicle) -> None:
        self._settings = settings
        self._policy = settings.policy
        self._chronicle = chronicle

    def begin(self, incident: Incident, ctx: Context) -> tuple[Incident, list[Message]]:
        decision = self._policy.decide(
            incident.series, incident.severity, self._past(incident, ctx)
        )
        if decision.mode is Mode.OBSERVE:
            return incident.model_copy(update={"handling": "none"}), []
        if decision.reason:
            actions = (*incident.actions, decision.reason)
            incident = incident.model_copy(update={"actions": actions})
        if decision.mode is Mode.MAIL:
            return self._ask_why(incident, incident.state.value, ctx)
        wait = timedelta(seconds=self._settings.remediation_wait_s)
        update = {
            "handling": "automatic",
            "attempts": incident.attempts + 1,
            "remediation": decision.remediation,
        }
        acting = self._chronicle.asking(incident.model_copy(update=update), Phase.ACTING, wait, ctx)
        kept = max(_HOUR, timedelta(seconds=self._policy.cooldown_s))
        ctx.records.put(
            RUNS,
            Run(
                command_id=acting.command_id,
                host=acting.series.host,
                series=series_key(acting.series),
                at=ctx.now,
                due=ctx.now + kept,
            ),
        )
        order = RemediationExecute(
            command_id=acting.command_id,
            host=acting.series.host,
            incident_id=acting.incident_id,
            remediation=decision.remediation,
            series=acting.series,
            dry_run=self._policy.dry_run,
            expires=ctx.now + wait,
        )
        return acting, [order]

    def told_by(self, incident: Incident, found: EvidenceCollected, ctx: Context) -> None:
        """The machine's evidence came: mail it."""
        note = "The list is cut short." if found.truncated else ""
        told = self._chronicle.tell(incident, incident.tell, ctx, found, note)
        self._chronicle.rest(told, ctx)

    def remedied(
        self, incident: Incident, actions: Sequence[str], problem: str, ctx: Context
    ) -> Iterator[Message]:
        """The machine did as told, or could not: ``problem`` says why."""
        done = incident.model_copy(update={"actions": (*incident.actions, *actions)})
        if problem:
            yield from self.escalate(done, problem, ctx)
            return
        due = ctx.now + timedelta(seconds=self._settings.settle_s)
        update = {"phase": Phase.SETTLING, "command_id": "", "due": due}
        ctx.records.put(INCIDENTS, done.model_copy(update=update))

    def read_again(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """Ask for the item's value, to see whether the remediation helped."""
        wait = timedelta(seconds=self._settings.read_wait_s)
        asked = self._chronicle.asking(incident, Phase.READING, wait, ctx)
        ctx.records.put(INCIDENTS, asked)
        yield ItemRead(
            command_id=asked.command_id, incident_id=asked.incident_id, series=asked.series
        )

    def verify(
        self, incident: Incident, value: float, at: datetime, ctx: Context
    ) -> Iterator[Message]:
        """The item was read: out of danger, or on to a person."""
        sight = incident.sight
        sign = 1 if sight.above else -1
        improved = sign * value < sign * sight.value
        within = sight.threshold is None or sign * value < sign * sight.threshold
        yield RemediationVerified(
            incident_id=incident.incident_id,
            command_id=incident.command_id,
            series=incident.series,
            remediation=incident.remediation,
            before=sight.value,
            after=value,
            effective=improved and within,
            at=at,
        )
        words = f"Read again afterwards: {value:.4g} (it was {sight.value:.4g})."
        seen = incident.model_copy(update={"actions": (*incident.actions, words)})
        if improved and within:
            at_ms = int(at.timestamp() * 1000)
            outcome = f"{incident.remediation}: from {sight.value:.4g} to {value:.4g}"
            yield from self._chronicle.close(seen, outcome, ctx, "handled", at_ms)
        else:
            reason = f"{incident.remediation} did not bring the value out of danger."
            yield from self.escalate(seen, reason, ctx)

    def escalate(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """Automatic handling failed: a person is told, with the evidence."""
        failed = incident.model_copy(update={"actions": (*incident.actions, reason)})
        if not failed.signals:
            yield from self._chronicle.close(failed, f"ended by itself; {reason}", ctx)
            return
        asked, commands = self._ask_why(failed, "escalated", ctx)
        yield from self._chronicle.store(incident, asked, ctx)
        yield from commands

    def overdue(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """An answer that was awaited did not come in time."""
        match incident.phase:
            case Phase.SETTLING:
                yield from self.read_again(incident, ctx)
            case Phase.ACTING:
                wait = self._settings.remediation_wait_s
                reason = f"The machine did not say within {wait:g} s that it was done."
                yield from self.escalate(incident, reason, ctx)
            case Phase.READING:
                wait = self._settings.read_wait_s
                reason = f"The item could not be read again within {wait:g} s."
                yield from self.escalate(incident, reason, ctx)
            case Phase.EVIDENCE:
                wait = self._settings.evidence_wait_s
                note = f"The machine did not answer within {wait:g} s."
                told = self._chronicle.tell(incident, incident.tell, ctx, note=note)
                self._chronicle.rest(told, ctx)

    def _past(self, incident: Incident, ctx: Context) -> Past:
        runs = ctx.records.find(RUNS, group=incident.series.host)
        same = [ctx.now - r.at for r in runs if r.series == series_key(incident.series)]
        since = min((s.total_seconds() for s in same), default=self._policy.cooldown_s)
        return Past(
            seconds_since_same=since if since < self._policy.cooldown_s else None,
            runs_on_host=sum(ctx.now - r.at < _HOUR for r in runs),
        )

    def _ask_why(
        self, incident: Incident, tell: Told, ctx: Context
    ) -> tuple[Incident, list[Message]]:
        """Towards a mail: first the machine's evidence, where there can be any."""
        told = incident.model_copy(update={"handling": "mail", "tell": tell})
        if told.family not in ASKABLE:
            return self._chronicle.resting(self._chronicle.tell(told, tell, ctx)), []
        if (storm := ctx.records.get(STORM, "storm")) is not None and storm.active:
            # Thousands of machines are not asked for what nobody will read row by row.
            return self._chronicle.resting(self._chronicle.tell(told, tell, ctx)), []
        self._chronicle.expect(told, ctx)
        wait = timedelta(seconds=self._settings.evidence_wait_s)
        asking = self._chronicle.asking(told, Phase.EVIDENCE, wait, ctx)
        question = EvidenceCollect(
            command_id=asking.command_id,
            host=asking.series.host,
            family=asking.family,
            path=asking.series.labels.get("mount", "")[:4096],
            reply_by=ctx.now + wait,
        )
        return asking, [question]
