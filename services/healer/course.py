"""An incident's course: from its first signal over handling and verification to its end.

Every step stores the incident and gives the messages that follow; answers that come late, twice
or for another incident change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.healer.mail.content import Notice
from services.healer.notices import ASKABLE, compose
from services.healer.policy import Mode, Past, worse
from services.healer.records import (
    COMMANDS,
    INCIDENTS,
    MAILS,
    REMEDYING,
    RUNS,
    Command,
    Incident,
    Mail,
    Phase,
    Run,
    Told,
    series_key,
)
from services.healer.settings import HealerSettings
from shared.contracts import (
    AlertChanged,
    EvidenceCollect,
    EvidenceCollected,
    ItemRead,
    Message,
    RemediationExecute,
    RemediationVerified,
)
from shared.contracts.alerts import AlertState
from shared.contracts.message import deterministic_id
from shared.service import Context

_FOREVER = 2**62
_HOUR = timedelta(hours=1)
_ANSWERS_KEPT = timedelta(days=1)


class Course:
    """What follows, under these settings."""

    def __init__(self, settings: HealerSettings) -> None:
        self._settings = settings
        self._policy = settings.policy

    def changed(
        self, before: Incident | None, now: Incident, ctx: Context, why: str = ""
    ) -> Iterator[Message]:
        """The signals changed; ``why`` says in words how the last one ended."""
        if not now.signals:
            if now.phase in REMEDYING:
                ctx.records.put(INCIDENTS, now)  # what was begun is verified first
            else:
                yield from self._close(now, why, ctx)
            return
        commands: list[Message] = []
        rises = before is None or _rises(before, now)
        if rises and now.phase is Phase.WAITING:
            now, commands = self._begin(now, ctx)
        elif now.phase is Phase.EVIDENCE and now.tell != "escalated":
            now = now.model_copy(update={"tell": now.state.value})
        yield from self._store(before, now, ctx)
        yield from commands

    def told_by(self, incident: Incident, found: EvidenceCollected, ctx: Context) -> None:
        """The machine's evidence came: mail it."""
        note = "The list is cut short." if found.truncated else ""
        told = self._mail(incident, incident.tell, ctx, found, note)
        self._rest(told, ctx)

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
        asked = self._asking(incident, Phase.READING, wait, ctx)
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
            yield from self._close(seen, outcome, ctx, "handled", at_ms)
        else:
            reason = f"{incident.remediation} did not bring the value out of danger."
            yield from self.escalate(seen, reason, ctx)

    def escalate(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """Automatic handling failed: a person is told, with the evidence."""
        failed = incident.model_copy(update={"actions": (*incident.actions, reason)})
        if not failed.signals:
            yield from self._close(failed, f"ended by itself; {reason}", ctx)
            return
        asked, commands = self._ask_why(failed, "escalated", ctx)
        yield from self._store(incident, asked, ctx)
        yield from commands

    def overdue(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """The clock moves the incident on."""
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
                self._rest(self._mail(incident, incident.tell, ctx, note=note), ctx)
            case Phase.WAITING:
                yield from self._signals_expired(incident, ctx)
            case Phase.CLOSED:
                ctx.records.delete(INCIDENTS, incident.incident_id)

    def _signals_expired(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        left = {
            key: signal
            for key, signal in incident.signals.items()
            if signal.until is None or signal.until > ctx.now
        }
        gone = {key: _FOREVER for key in incident.signals if key not in left}
        update = {"ended": incident.ended | gone, "due": None}
        now = incident.with_signals(left).model_copy(update=update)
        yield from self.changed(incident, now, ctx, "no alarm followed the prediction")

    def _begin(self, incident: Incident, ctx: Context) -> tuple[Incident, list[Message]]:
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
        acting = self._asking(incident.model_copy(update=update), Phase.ACTING, wait, ctx)
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
            return self._resting(self._mail(told, tell, ctx)), []
        wait = timedelta(seconds=self._settings.evidence_wait_s)
        asking = self._asking(told, Phase.EVIDENCE, wait, ctx)
        question = EvidenceCollect(
            command_id=asking.command_id,
            host=asking.series.host,
            family=asking.family,
            path=asking.series.labels.get("mount", "")[:4096],
            reply_by=ctx.now + wait,
        )
        return asking, [question]

    @staticmethod
    def _asking(incident: Incident, phase: Phase, wait: timedelta, ctx: Context) -> Incident:
        """A command goes out under a new id; its answer is awaited until ``due``."""
        about = (incident.incident_id, phase, incident.attempts, incident.mails)
        command_id = deterministic_id("command", *about)
        due = ctx.now + _ANSWERS_KEPT + wait
        command = Command(command_id=command_id, incident_id=incident.incident_id, due=due)
        ctx.records.put(COMMANDS, command)
        update = {"phase": phase, "command_id": command_id, "due": ctx.now + wait}
        return incident.model_copy(update=update)

    def _close(
        self,
        incident: Incident,
        outcome: str,
        ctx: Context,
        tell: Told = "resolved",
        until_ms: int = _FOREVER,
    ) -> Iterator[Message]:
        """The end; signals still open count as dealt with up to ``until_ms``."""
        if incident.handling != "none":
            ending = incident.model_copy(update={"actions": (*incident.actions, outcome)})
            incident = self._mail(ending if tell == "resolved" else incident, tell, ctx)
        ended = incident.ended | dict.fromkeys(incident.signals, until_ms)
        update = {
            "state": AlertState.RESOLVED,
            "signals": {},
            "ended": ended,
            "phase": Phase.CLOSED,
            "command_id": "",
            "due": ctx.now + timedelta(days=self._settings.keep_days),
        }
        yield from self._store(None, incident.model_copy(update=update), ctx, outcome)

    @staticmethod
    def _store(
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

    def _mail(
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

    def _rest(self, incident: Incident, ctx: Context) -> None:
        ctx.records.put(INCIDENTS, self._resting(incident))

    @staticmethod
    def _resting(incident: Incident) -> Incident:
        """Nothing to do until a signal comes, ends, or its time is up."""
        times = [s.until for s in incident.signals.values() if s.until is not None]
        update = {"phase": Phase.WAITING, "command_id": "", "due": min(times, default=None)}
        return incident.model_copy(update=update)


def _rises(before: Incident, now: Incident) -> bool:
    fires = now.state is AlertState.FIRING and before.state is not AlertState.FIRING
    return fires or worse(now.severity, before.severity)


def _as_seen(incident: Incident) -> tuple[object, ...]:
    """What an alert's subscribers can tell apart."""
    predicted = incident.state is AlertState.PREDICTED
    crossing_ms = incident.sight.crossing_ms if predicted else None
    return incident.state, incident.severity, incident.handling, crossing_ms
