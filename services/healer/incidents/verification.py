"""Verifies a remediation: waits, reads the item again, then closes, undoes or escalates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.healer.actions.execution import Execution, settle_s, undoable
from services.healer.incidents.answers import no_answer
from services.healer.incidents.effects import healed
from services.healer.incidents.evidence import EvidenceRequests
from services.healer.incidents.store import IncidentStore
from services.healer.model.action import ACTIONS, OPEN_ACTIONS, Action
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.narrative import Executed, Verified
from services.healer.model.transitions import Phase, collected
from services.healer.settings import HealerSettings
from shared.contracts import ItemRead, Message, RemediationExecuted, RemediationVerified
from shared.contracts.alerts import Point
from shared.contracts.healing import ActionState
from shared.items import ITEMS
from shared.quantity import quantity
from shared.service import Context


class Verification:
    """Verifies remediations, under these settings."""

    def __init__(
        self,
        settings: HealerSettings,
        execution: Execution,
        evidence: EvidenceRequests,
        incidents: IncidentStore,
    ) -> None:
        self._settings = settings
        self._execution = execution
        self._evidence = evidence
        self._incidents = incidents

    @collected
    def remedied(
        self,
        incident: Incident,
        message: RemediationExecuted,
        words: Sequence[str],
        problem: str,
        ctx: Context,
    ) -> Iterator[Message]:
        """Continue after the machine executed its command, or failed with ``problem``."""
        did = Executed(
            at=ctx.now,
            remediation=incident.remediation,
            words=words[0] if words else problem,
            succeeded=not problem,
        )
        done = incident.noted(*words).tells(did)
        action = self._execution.done(incident.action_id, message, ctx)
        if problem:
            if action is not None:
                yield from self._execution.change(action, ActionState.FAILED, ctx, problem)
            yield from self._evidence.escalate(done, problem, ctx)
            return
        if action is not None:
            yield from self._execution.change(action, ActionState.VERIFYING, ctx)
        settle = max(self._settings.settle_s, settle_s(incident.remediation))
        due = ctx.now + timedelta(seconds=settle)
        ctx.records.put(INCIDENTS, done.settling(due))

    @collected
    def _read_again(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """Ask for the item's value, to see whether the remediation helped."""
        wait = timedelta(seconds=self._settings.read_wait_s)
        command_id = self._incidents.new_command(incident, Phase.READING, wait, ctx)
        asked = incident.reading(command_id, ctx.now + wait)
        ctx.records.put(INCIDENTS, asked)
        yield ItemRead(
            command_id=asked.command_id, incident_id=asked.incident_id, series=asked.series
        )

    @collected
    def verify(
        self, incident: Incident, value: float, at: datetime, ctx: Context
    ) -> Iterator[Message]:
        """The item was read: close if it is out of danger, otherwise undo or escalate."""
        observation = incident.acted_on or incident.observation
        sign = 1 if observation.above else -1
        limits = [observation.value, observation.threshold]
        effective = all(sign * value < sign * limit for limit in limits if limit is not None)
        saved = self._execution.outcome(incident, ctx, effective=effective)
        yield RemediationVerified(
            incident_id=incident.incident_id,
            command_id=incident.command_id,
            series=incident.series,
            remediation=incident.remediation,
            before=observation.value,
            after=value,
            effective=effective,
            saved=saved,
            at=at,
        )
        fact = Verified(
            at=ctx.now,
            remediation=incident.remediation,
            before=observation.value,
            after=value,
            effective=effective,
            saved=saved,
        )
        at_ms = int(at.timestamp() * 1000)
        seen = _with_verified(incident, fact, at_ms)
        action = ctx.records.get(ACTIONS, incident.action_id)
        if effective:
            healed(incident.series, at_ms, ctx)
            if action is not None:
                yield from self._execution.change(action, ActionState.VERIFIED, ctx)
            outcome = f"{incident.remediation}: from {observation.value:.4g} to {value:.4g}"
            yield from self._incidents.close(seen, outcome, ctx, "handled", at_ms)
            return
        reason = f"{incident.remediation} did not bring the value out of danger."
        yield from self._not_helped(seen, action, reason, ctx)

    @collected
    def _not_helped(
        self, incident: Incident, action: Action | None, reason: str, ctx: Context
    ) -> Iterator[Message]:
        """Undo the remediation if possible, otherwise escalate."""
        can = action is not None and self._execution.policy.undo and undoable(incident.remediation)
        if action is None or not can or not action.steps:
            if action is not None:
                yield from self._execution.change(action, ActionState.FAILED, ctx, reason)
            yield from self._evidence.escalate(incident, reason, ctx)
            return
        undoing, messages = self._execution.take_back(action, ctx)
        until = ctx.now + timedelta(seconds=self._settings.remediation_wait_s)
        ctx.records.put(INCIDENTS, incident.noted(reason).undoing(undoing.command_id, until))
        yield from messages

    @collected
    def undone(
        self, incident: Incident, words: Sequence[str], problem: str, ctx: Context
    ) -> Iterator[Message]:
        """Continue after an unhelpful remediation was undone, or could not be."""
        action = ctx.records.get(ACTIONS, incident.action_id)
        state = ActionState.FAILED if problem else ActionState.UNDONE
        if action is not None:
            yield from self._execution.change(action, state, ctx, problem)
        seen = incident.noted(*words)
        yield from self._evidence.escalate(seen, problem or "It was taken back.", ctx)

    @collected
    def unreadable(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """The item could not be read again after the remediation."""
        yield from self._fail(incident, reason, ctx)

    @collected
    def overdue(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """An awaited answer did not arrive in time."""
        match incident.phase:
            case Phase.SETTLING:
                yield from self._read_again(incident, ctx)
            case Phase.ACTING:
                wait = self._settings.remediation_wait_s
                reason = no_answer(incident.series.host, "it was done", wait, ctx)
                yield from self._fail(incident, reason, ctx)
            case Phase.UNDOING:
                wait = self._settings.remediation_wait_s
                reason = no_answer(incident.series.host, "it was taken back", wait, ctx)
                yield from self._fail(incident, reason, ctx)
            case Phase.READING:
                wait = self._settings.read_wait_s
                reason = f"The item could not be read again within {wait:g} s."
                yield from self._fail(incident, reason, ctx)

    @collected
    def _fail(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """An answer is missing: the action counts as failed."""
        action = ctx.records.get(ACTIONS, incident.action_id)
        if action is not None and action.state in OPEN_ACTIONS:
            yield from self._execution.change(action, ActionState.FAILED, ctx, reason)
        yield from self._evidence.escalate(incident, reason, ctx)


def _with_verified(incident: Incident, fact: Verified, at_ms: int) -> Incident:
    """The incident with the value that was read after its remediation."""
    item = ITEMS.get(incident.series.item)
    unit = item.unit if item else ""
    now, was = quantity(fact.after, unit), quantity(fact.before, unit)
    words = f"Read again afterwards: {now} (it was {was})."
    return incident.noted(words, after=Point(time_ms=at_ms, value=fact.after)).tells(fact)
