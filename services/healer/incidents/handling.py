"""How an incident is handled: by a remediation that is verified, or by a person with evidence.

Answers that come late, twice or for another incident change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.healer.actions.execution import Acting
from services.healer.actions.waits import Waits
from services.healer.incidents.evidence import Asking
from services.healer.incidents.store import Chronicle
from services.healer.incidents.verification import Verifying
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

    def __init__(self, settings: HealerSettings, chronicle: Chronicle) -> None:
        self._settings = settings
        self._chronicle = chronicle
        waits = Waits(
            plan=timedelta(seconds=settings.evidence_wait_s),
            remediation=timedelta(seconds=settings.remediation_wait_s),
            settling=timedelta(seconds=settings.settle_s),
            keep=timedelta(days=settings.keep_days),
        )
        self.acting = Acting(settings.policy, waits)
        self.asking = Asking(settings, chronicle)
        self.verifying = Verifying(settings, self.acting, self.asking, chronicle)

    def begin(self, incident: Incident, ctx: Context) -> tuple[Incident, list[Message]]:
        """Begin what the policy says: nothing, a notice, a proposal, or acting."""
        old = self._withdraw(incident, "the alarm has changed", ctx)
        decision = self.acting.envelope.decide(incident, ctx)
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
            asking, questions = self.asking.why(incident, tell, ctx)
            return asking, [*old, *questions]
        action, orders = self.acting.propose(incident, decision, ctx)
        handling: HandledBy = "approve" if decision.level is Level.APPROVE else "mail"
        asked = "it can be approved" if decision.level is Level.APPROVE else "it is suggested"
        planning = incident.proposing(action.action_id, decision.remediation, handling).tells(
            Decided(at=ctx.now, words=f"a plan for {decision.remediation} was asked for; {asked}")
        )
        asking, questions = self.asking.why(planning, tell, ctx, planning=True)
        return asking, [*old, *orders, *questions]

    def _act(
        self, incident: Incident, action: Action | None, decision: Decision, ctx: Context
    ) -> tuple[Incident, list[Message]]:
        begun = incident.trying()
        running, messages = self.acting.begin(begun, action, decision, ctx)
        until = ctx.now + timedelta(seconds=self._settings.remediation_wait_s)
        acting = begun.acting(running.action_id, running.remediation, running.command_id, until)
        if begun.mails:
            self._chronicle.come(begun, ctx)
        words = f"{running.remediation} was ordered"
        return acting.tells(Decided(at=ctx.now, words=words, by=running.by)), messages

    @collected
    def planned(
        self, incident: Incident, message: RemediationExecuted, ctx: Context
    ) -> Iterator[Message]:
        """The dry run of a proposal came back: it is shown, and can be approved."""
        action = self.acting.planned(incident.action_id, message, ctx)
        if action is None:
            return
        if action.level is Level.APPROVE:
            yield from self.acting.change(action, ActionState.PROPOSED, ctx, message.detail)
        note = message.detail if not message.steps else ""
        words = [f"{action.remediation}: {note}"] if note else []
        self.asking.tell_when_complete(incident.planned(message.steps).noted(*words), ctx)

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
            yield from self.acting.change(action, ActionState.WITHDRAWN, ctx, "the alarm has ended")
        elif not message.approve:
            reason = message.reason or "refused"
            yield from self.acting.change(action, ActionState.REFUSED, ctx, reason)
            words = f"{action.remediation} was refused by {message.by}."
            fact = Decided(at=ctx.now, words=words)
            ctx.records.put(INCIDENTS, incident.noted(words).tells(fact))
        elif action.level is not Level.APPROVE or incident.phase in REMEDYING:
            return
        else:
            yield from self._approved(incident, action, ctx)

    @collected
    def _approved(self, incident: Incident, action: Action, ctx: Context) -> Iterator[Message]:
        facts = self.acting.envelope.facts(incident, ctx)
        forbidden = self.acting.policy.forbids(action.remediation, facts)
        if not action.planned:
            forbidden = f"{action.remediation} did not run: its plan has not come yet."
        if forbidden:
            # It stays proposed: what stands in the way may pass before the proposal expires.
            yield from self.acting.change(action, ActionState.PROPOSED, ctx, forbidden)
            return
        words = f"{action.remediation} was approved by {action.by}."
        decision = Decision(level=Level.APPROVE, remediation=action.remediation)
        acting, messages = self._act(incident.noted(words), action, decision, ctx)
        yield from self._chronicle.store(incident, acting, ctx)
        yield from messages

    @collected
    def expired(self, action: Action, ctx: Context) -> Iterator[Message]:
        """Nobody decided in time: nothing is done, and people are notified once more."""
        incident = ctx.records.get(INCIDENTS, action.incident_id)
        open_still = incident is not None and bool(incident.signals)
        if action.level is not Level.APPROVE:
            ctx.records.delete(ACTIONS, action.action_id)  # a plan that was only shown
            return
        if incident is None or not open_still:
            yield from self.acting.change(action, ActionState.WITHDRAWN, ctx, "the alarm has ended")
            return
        yield from self.acting.change(action, ActionState.EXPIRED, ctx, "nobody decided in time")
        if incident.phase in REMEDYING or incident.action_id != action.action_id:
            return
        expired = incident.handled_by("mail")
        reason = f"The proposal to run {action.remediation} expired: nobody decided in time."
        yield from self.asking.escalate(expired, reason, ctx)

    @collected
    def ended(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """The alarm ended: what was proposed against it is no longer to be decided."""
        yield from self._withdraw(incident, "the alarm has ended", ctx)

    @collected
    def _withdraw(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        action = ctx.records.get(ACTIONS, incident.action_id) if incident.action_id else None
        if action is not None and action.state is ActionState.PROPOSED:
            if action.level is Level.APPROVE:
                yield from self.acting.change(action, ActionState.WITHDRAWN, ctx, reason)
            else:
                ctx.records.delete(ACTIONS, action.action_id)

    @collected
    def overdue(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """An answer that was awaited did not come in time."""
        if incident.phase is Phase.EVIDENCE:
            self.asking.overdue(incident, ctx)
        else:
            yield from self.verifying.overdue(incident, ctx)
