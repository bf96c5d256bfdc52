"""Handling of incidents: by a verified remediation, or by a person with evidence.

Answers that are late, repeated or for another incident change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.healer.actions.execution import Execution
from services.healer.actions.waits import Waits
from services.healer.incidents.evidence import EvidenceRequests
from services.healer.incidents.store import IncidentStore
from services.healer.incidents.verification import Verification
from services.healer.model.action import ACTIONS, Action
from services.healer.model.decision import Decision
from services.healer.model.incident import INCIDENTS, REMEDYING, Incident, News
from services.healer.model.incident import Handling as HandledBy
from services.healer.model.narrative import Decided
from services.healer.model.transitions import Phase, collected
from services.healer.settings import HealerSettings
from shared.contracts import ActionDecide, Message, RemediationExecuted
from shared.contracts.healing import ActionState, Level
from shared.service import Context


class Handling:
    """Handles incidents under these settings."""

    def __init__(self, settings: HealerSettings, incidents: IncidentStore) -> None:
        self._settings = settings
        self._incidents = incidents
        waits = Waits(
            plan=timedelta(seconds=settings.evidence_wait_s),
            remediation=timedelta(seconds=settings.remediation_wait_s),
            settling=timedelta(seconds=settings.settle_s),
            keep=timedelta(days=settings.keep_days),
        )
        self.execution = Execution(settings.policy, waits)
        self.evidence = EvidenceRequests(settings, incidents)
        self.verification = Verification(settings, self.execution, self.evidence, incidents)

    def begin(self, incident: Incident, ctx: Context) -> tuple[Incident, list[Message]]:
        """Begin what the policy decides: nothing, a notification, a proposal, or an action."""
        old = self._withdraw(incident, "the alarm has changed", ctx)
        decision = self.execution.envelope.decide(incident, ctx)
        if decision.level is Level.OBSERVE:
            return incident.handled_by("none"), old
        if decision.reason:
            fact = Decided(at=ctx.now, words=decision.reason)
            incident = incident.noted(decision.reason).tells(fact)
        if decision.level is Level.AUTOMATIC:
            acting, messages = self._act(incident, None, decision, ctx)
            return acting, [*old, *messages]
        tell: News = "escalated" if decision.exhausted else incident.state.value
        if not decision.remediation:
            asking, questions = self.evidence.why(incident, tell, ctx)
            return asking, [*old, *questions]
        action, orders = self.execution.propose(incident, decision, ctx)
        handling: HandledBy = "approve" if decision.level is Level.APPROVE else "mail"
        asked = "it can be approved" if decision.level is Level.APPROVE else "it is suggested"
        planning = incident.proposing(action.action_id, decision.remediation, handling).tells(
            Decided(at=ctx.now, words=f"a plan for {decision.remediation} was requested; {asked}")
        )
        asking, questions = self.evidence.why(planning, tell, ctx, planning=True)
        return asking, [*old, *orders, *questions]

    def _act(
        self, incident: Incident, action: Action | None, decision: Decision, ctx: Context
    ) -> tuple[Incident, list[Message]]:
        begun = incident.trying()
        running, messages = self.execution.begin(begun, action, decision, ctx)
        until = ctx.now + timedelta(seconds=self._settings.remediation_wait_s)
        acting = begun.acting(running.action_id, running.remediation, running.command_id, until)
        if begun.mails:
            self._incidents.update_waiting(begun, ctx)
        words = f"{running.remediation} was ordered"
        return acting.tells(Decided(at=ctx.now, words=words, by=running.by)), messages

    @collected
    def planned(
        self, incident: Incident, message: RemediationExecuted, ctx: Context
    ) -> Iterator[Message]:
        """Show the plan of a proposal after its dry run, so that it can be approved."""
        action = self.execution.planned(incident.action_id, message, ctx)
        if action is None:
            return
        if action.level is Level.APPROVE:
            yield from self.execution.change(action, ActionState.PROPOSED, ctx, message.detail)
        note = message.detail if not message.steps else ""
        words = [f"A dry run of {action.remediation} says: {note}."] if note else []
        self.evidence.notify_when_complete(incident.planned(message.steps).noted(*words), ctx)

    @collected
    def decided(self, message: ActionDecide, ctx: Context) -> Iterator[Message]:
        """A person approves or refuses; the first decision in time holds, and only while the
        alarm lasts and the envelope allows it.
        """
        action = ctx.records.get(ACTIONS, message.action_id)
        if action is None or action.state is not ActionState.PROPOSED:
            return
        incident = ctx.records.get(INCIDENTS, action.incident_id)
        action = action.decided_by(message.by)
        if action.expires is not None and ctx.now >= action.expires:
            yield from self.expired(action, ctx)
        elif incident is None or not incident.signals:
            yield from self.execution.change(
                action, ActionState.WITHDRAWN, ctx, "the alarm has ended"
            )
        elif not message.approve:
            reason = message.reason or "refused"
            yield from self.execution.change(action, ActionState.REFUSED, ctx, reason)
            words = f"{action.remediation} was refused by {message.by}."
            fact = Decided(at=ctx.now, words=words)
            ctx.records.put(INCIDENTS, incident.noted(words).tells(fact))
        elif action.level is not Level.APPROVE or incident.phase in REMEDYING:
            return
        else:
            yield from self._approved(incident, action, ctx)

    @collected
    def _approved(self, incident: Incident, action: Action, ctx: Context) -> Iterator[Message]:
        facts = self.execution.envelope.facts(incident, ctx)
        forbidden = self.execution.policy.forbids(action.remediation, facts)
        if not action.planned:
            forbidden = f"{action.remediation} did not run: its plan has not come yet."
        if forbidden:
            # It stays proposed, because the obstacle may pass before the proposal expires.
            yield from self.execution.change(action, ActionState.PROPOSED, ctx, forbidden)
            return
        words = f"{action.remediation} was approved by {action.by}."
        decision = Decision(level=Level.APPROVE, remediation=action.remediation)
        acting, messages = self._act(incident.noted(words), action, decision, ctx)
        yield from self._incidents.store(incident, acting, ctx)
        yield from messages

    @collected
    def expired(self, action: Action, ctx: Context) -> Iterator[Message]:
        """Notify people again, because a proposal expired without a decision."""
        incident = ctx.records.get(INCIDENTS, action.incident_id)
        open_still = incident is not None and bool(incident.signals)
        if action.level is not Level.APPROVE:
            ctx.records.delete(ACTIONS, action.action_id)  # a plan that was only shown
            return
        if incident is None or not open_still:
            yield from self.execution.change(
                action, ActionState.WITHDRAWN, ctx, "the alarm has ended"
            )
            return
        yield from self.execution.change(action, ActionState.EXPIRED, ctx, "nobody decided in time")
        if incident.phase in REMEDYING or incident.action_id != action.action_id:
            return
        expired = incident.handled_by("mail")
        reason = f"The proposal to run {action.remediation} expired: nobody decided in time."
        yield from self.evidence.escalate(expired, reason, ctx)

    @collected
    def ended(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """Withdraw the proposal of an alarm that has ended."""
        yield from self._withdraw(incident, "the alarm has ended", ctx)

    @collected
    def _withdraw(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        action = ctx.records.get(ACTIONS, incident.action_id) if incident.action_id else None
        if action is not None and action.state is ActionState.PROPOSED:
            if action.level is Level.APPROVE:
                yield from self.execution.change(action, ActionState.WITHDRAWN, ctx, reason)
            else:
                ctx.records.delete(ACTIONS, action.action_id)

    @collected
    def overdue(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """An awaited answer did not arrive in time."""
        if incident.phase is Phase.EVIDENCE:
            self.evidence.overdue(incident, ctx)
        else:
            yield from self.verification.overdue(incident, ctx)
