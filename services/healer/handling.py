"""How an incident is handled: by a remediation that is verified, or by a person with evidence.

Answers that come late, twice or for another incident change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.healer import answers
from services.healer.acting import Acting, settle_s, undoable
from services.healer.actions import ACTIONS, OPEN_ACTIONS, Action
from services.healer.alerting.records import STORM
from services.healer.answers import no_answer, no_evidence, no_plan
from services.healer.chronicle import Chronicle
from services.healer.mail.words import quantity
from services.healer.notices import ASKABLE
from services.healer.policy import Decision
from services.healer.records import INCIDENTS, REMEDYING, Incident, Phase, Told
from services.healer.settings import HealerSettings
from shared.contracts import (
    ActionDecide,
    EvidenceCollect,
    EvidenceCollected,
    ItemRead,
    Message,
    RemediationExecuted,
    RemediationVerified,
)
from shared.contracts.alerts import Point
from shared.contracts.healing import ActionState, Level
from shared.items import ITEMS
from shared.service import Context


class Handling:
    """What is done about incidents, under these settings."""

    def __init__(self, settings: HealerSettings, chronicle: Chronicle) -> None:
        self._settings = settings
        self.acting = Acting(settings)
        self._chronicle = chronicle

    def begin(self, incident: Incident, ctx: Context) -> tuple[Incident, list[Message]]:
        """What the policy says is begun: nothing, a notice, a proposal, or acting."""
        old = list(self._withdraw(incident, "the alarm has changed", ctx))
        decision = self.acting.decide(incident, ctx)
        if decision.level is Level.OBSERVE:
            return incident.model_copy(update={"handling": "none"}), old
        if decision.reason:
            actions = (*incident.actions, decision.reason)
            incident = incident.model_copy(update={"actions": actions})
        if decision.level is Level.AUTOMATIC:
            acting, messages = self._act(incident, None, decision, ctx)
            return acting, [*old, *messages]
        tell: Told = "escalated" if decision.exhausted else incident.state.value
        if not decision.remediation:
            asking, questions = self._ask_why(incident, tell, ctx)
            return asking, [*old, *questions]
        action, orders = self.acting.propose(incident, decision, ctx)
        planning = incident.model_copy(
            update={
                "action_id": action.action_id,
                "remediation": decision.remediation,
                "plan": (),
                "handling": "approve" if decision.level is Level.APPROVE else "mail",
            }
        )
        asking, questions = self._ask_why(planning, tell, ctx, planning=True)
        return asking, [*old, *orders, *questions]

    def _act(
        self, incident: Incident, action: Action | None, decision: Decision, ctx: Context
    ) -> tuple[Incident, list[Message]]:
        begun = incident.model_copy(update={"attempts": incident.attempts + 1})
        running, messages = self.acting.begin(begun, action, decision, ctx)
        wait = timedelta(seconds=self._settings.remediation_wait_s)
        update = {
            "handling": "automatic",
            "remediation": running.remediation,
            "action_id": running.action_id,
            "acted_on": incident.sight,
            "phase": Phase.ACTING,
            "command_id": running.command_id,
            "missing": (),
            "due": ctx.now + wait,
        }
        return begun.model_copy(update=update), list(messages)

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
        actions = (*incident.actions, f"{action.remediation}: {note}") if note else incident.actions
        missing = tuple(part for part in incident.missing if part != "plan")
        shown = incident.model_copy(
            update={"plan": message.steps, "missing": missing, "actions": actions}
        )
        self._tell_when_complete(shown, ctx)

    def decided(self, message: ActionDecide, ctx: Context) -> Iterator[Message]:
        """A person approves or refuses; the first decision in time holds, and only while the
        alarm lasts and the envelope allows it.
        """
        action = ctx.records.get(ACTIONS, message.action_id)
        if action is None or action.state is not ActionState.PROPOSED:
            return
        incident = ctx.records.get(INCIDENTS, action.incident_id)
        action = action.model_copy(update={"by": message.by})
        if action.expires is not None and ctx.now >= action.expires:
            yield from self.expired(action, ctx)
        elif incident is None or not incident.signals:
            yield from self.acting.change(action, ActionState.WITHDRAWN, ctx, "the alarm has ended")
        elif not message.approve:
            reason = message.reason or "refused"
            yield from self.acting.change(action, ActionState.REFUSED, ctx, reason)
            words = f"{action.remediation} was refused by {message.by}."
            ctx.records.put(INCIDENTS, _noted(incident, words))
        elif action.level is not Level.APPROVE or incident.phase in REMEDYING:
            return
        else:
            yield from self._approved(incident, action, ctx)

    def _approved(self, incident: Incident, action: Action, ctx: Context) -> Iterator[Message]:
        facts = self.acting.facts(incident, ctx)
        forbidden = self.acting.policy.forbids(action.remediation, facts)
        if not action.planned:
            forbidden = f"{action.remediation} did not run: its plan has not come yet."
        if forbidden:
            # It stays proposed: what stands in the way may pass before the proposal expires.
            yield from self.acting.change(action, ActionState.PROPOSED, ctx, forbidden)
            return
        words = f"{action.remediation} was approved by {action.by}."
        decision = Decision(level=Level.APPROVE, remediation=action.remediation)
        acting, messages = self._act(_noted(incident, words), action, decision, ctx)
        yield from self._chronicle.store(incident, acting, ctx)
        yield from messages

    def expired(self, action: Action, ctx: Context) -> Iterator[Message]:
        """Nobody decided in time: nothing is done, and people are told once more."""
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
        expired = incident.model_copy(update={"handling": "mail"})
        reason = f"The proposal to run {action.remediation} expired: nobody decided in time."
        yield from self.escalate(expired, reason, ctx)

    def ended(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """The alarm ended: what was proposed against it is no longer to be decided."""
        yield from self._withdraw(incident, "the alarm has ended", ctx)

    def _withdraw(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        action = ctx.records.get(ACTIONS, incident.action_id) if incident.action_id else None
        if action is not None and action.state is ActionState.PROPOSED:
            if action.level is Level.APPROVE:
                yield from self.acting.change(action, ActionState.WITHDRAWN, ctx, reason)
            else:
                ctx.records.delete(ACTIONS, action.action_id)

    def told_by(self, incident: Incident, found: EvidenceCollected, ctx: Context) -> None:
        """The machine's evidence came: tell people, unless the plan is still on its way."""
        missing = tuple(part for part in incident.missing if part != "evidence")
        seen = incident.model_copy(update={"evidence": found, "missing": missing})
        self._tell_when_complete(seen, ctx)

    def _tell_when_complete(self, incident: Incident, ctx: Context) -> None:
        if incident.missing or incident.phase is not Phase.EVIDENCE:
            ctx.records.put(INCIDENTS, incident)
            return
        told = self._chronicle.tell(incident, incident.tell, ctx, incident.evidence)
        self._chronicle.rest(told, ctx)

    def remedied(
        self,
        incident: Incident,
        message: RemediationExecuted,
        words: Sequence[str],
        problem: str,
        ctx: Context,
    ) -> Iterator[Message]:
        """The machine did as told, or could not: ``problem`` says why."""
        done = incident.model_copy(update={"actions": (*incident.actions, *words)})
        action = self.acting.done(incident.action_id, message, ctx)
        if problem:
            if action is not None:
                yield from self.acting.change(action, ActionState.FAILED, ctx, problem)
            yield from self.escalate(done, problem, ctx)
            return
        if action is not None:
            yield from self.acting.change(action, ActionState.VERIFYING, ctx)
        settle = max(self._settings.settle_s, settle_s(incident.remediation))
        due = ctx.now + timedelta(seconds=settle)
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
        sight = incident.acted_on or incident.sight
        sign = 1 if sight.above else -1
        improved = sign * value < sign * sight.value
        within = sight.threshold is None or sign * value < sign * sight.threshold
        effective = improved and within
        saved = self.acting.outcome(incident, ctx, effective=effective)
        yield RemediationVerified(
            incident_id=incident.incident_id,
            command_id=incident.command_id,
            series=incident.series,
            remediation=incident.remediation,
            before=sight.value,
            after=value,
            effective=effective,
            saved=saved,
            at=at,
        )
        item = ITEMS.get(incident.series.item)
        unit = item.unit if item else ""
        now, was = quantity(value, unit), quantity(sight.value, unit)
        at_ms = int(at.timestamp() * 1000)
        seen = _noted(incident, f"Read again afterwards: {now} (it was {was}).")
        seen = seen.model_copy(update={"after": Point(time_ms=at_ms, value=value)})
        action = ctx.records.get(ACTIONS, incident.action_id)
        if effective:
            if action is not None:
                yield from self.acting.change(action, ActionState.VERIFIED, ctx)
            outcome = f"{incident.remediation}: from {sight.value:.4g} to {value:.4g}"
            yield from self._chronicle.close(seen, outcome, ctx, "handled", at_ms)
            return
        reason = f"{incident.remediation} did not bring the value out of danger."
        yield from self._not_helped(seen, action, reason, ctx)

    def _not_helped(
        self, incident: Incident, action: Action | None, reason: str, ctx: Context
    ) -> Iterator[Message]:
        """Take it back where that is possible, else on to a person."""
        can = action is not None and self.acting.policy.undo and undoable(incident.remediation)
        if action is None or not can or not action.steps:
            if action is not None:
                yield from self.acting.change(action, ActionState.FAILED, ctx, reason)
            yield from self.escalate(incident, reason, ctx)
            return
        undoing, messages = self.acting.take_back(action, ctx)
        wait = timedelta(seconds=self._settings.remediation_wait_s)
        update = {
            "phase": Phase.UNDOING, "command_id": undoing.command_id, "due": ctx.now + wait,
        }  # fmt: skip
        ctx.records.put(INCIDENTS, _noted(incident, reason).model_copy(update=update))
        yield from messages

    def undone(
        self, incident: Incident, words: Sequence[str], problem: str, ctx: Context
    ) -> Iterator[Message]:
        """What did not help was taken back, or could not be."""
        action = ctx.records.get(ACTIONS, incident.action_id)
        state = ActionState.FAILED if problem else ActionState.UNDONE
        if action is not None:
            yield from self.acting.change(action, state, ctx, problem)
        seen = incident.model_copy(update={"actions": (*incident.actions, *words)})
        yield from self.escalate(seen, problem or "It was taken back.", ctx)

    def _fail(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """An answer did not come: the action has failed, as far as anybody knows."""
        action = ctx.records.get(ACTIONS, incident.action_id)
        if action is not None and action.state in OPEN_ACTIONS:
            yield from self.acting.change(action, ActionState.FAILED, ctx, reason)
        yield from self.escalate(incident, reason, ctx)

    def unreadable(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """The item could not be read again after the remediation."""
        yield from self._fail(incident, reason, ctx)

    def escalate(self, incident: Incident, reason: str, ctx: Context) -> Iterator[Message]:
        """Automatic handling failed: a person is told, with the evidence."""
        failed = _noted(incident, reason)
        if not failed.signals:
            yield from self._chronicle.close(failed, f"ended by itself; {reason}", ctx)
            return
        asked, commands = self._ask_why(
            failed.model_copy(update={"handling": "mail"}), "escalated", ctx
        )
        yield from self._chronicle.store(incident, asked, ctx)
        yield from commands

    def overdue(self, incident: Incident, ctx: Context) -> Iterator[Message]:
        """An answer that was awaited did not come in time."""
        match incident.phase:
            case Phase.SETTLING:
                yield from self.read_again(incident, ctx)
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
            case Phase.EVIDENCE:
                told = self._chronicle.tell(
                    incident.model_copy(update={"missing": ()}), incident.tell, ctx,
                    note=self._silence(incident, ctx),
                )  # fmt: skip
                self._chronicle.rest(told, ctx)

    def _silence(self, incident: Incident, ctx: Context) -> str:
        """What did not come in time, in words."""
        wait = self._settings.evidence_wait_s
        missing = incident.missing or ("evidence",)
        notes = []
        if "evidence" in missing:
            notes.append(no_evidence(incident.series.host, wait, ctx))
        if "plan" in missing:
            notes.append(no_plan(incident.remediation, wait))
        return " ".join(notes)

    def _ask_why(
        self, incident: Incident, tell: Told, ctx: Context, *, planning: bool = False
    ) -> tuple[Incident, list[Message]]:
        """Towards a notice: first the machine's evidence, and the plan that was asked for."""
        handling = "approve" if planning and incident.handling == "approve" else "mail"
        told = incident.model_copy(update={"handling": handling, "tell": tell, "missing": ()})
        storm = ctx.records.get(STORM, "storm")
        # Thousands of machines are not asked for what nobody will read row by row.
        stormy = storm is not None and storm.active
        asks = told.family in ASKABLE and not stormy
        if not asks and not planning:
            note = answers.STORM if told.family in ASKABLE else ""
            telling = self._chronicle.tell(told, tell, ctx, note=note)
            return self._chronicle.resting(telling), []
        self._chronicle.expect(told, ctx)
        wait = timedelta(seconds=self._settings.evidence_wait_s)
        asking = self._chronicle.asking(told, Phase.EVIDENCE, wait, ctx)
        missing = (*(("evidence",) if asks else ()), *(("plan",) if planning else ()))
        asking = asking.model_copy(update={"missing": missing})
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


def _noted(incident: Incident, words: str) -> Incident:
    return incident.model_copy(update={"actions": (*incident.actions, words)})
