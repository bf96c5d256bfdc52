"""Execution of actions: planned by a dry run, approved, leased, begun and ended.

The envelope is checked when an alarm arrives and again when a person approves; every decision is
recorded in the audit log with its facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from services.healer.actions import audit, leases, scores
from services.healer.actions.envelope import Envelope, target_of
from services.healer.actions.waits import Waits
from services.healer.model.action import (
    ACTIONS,
    CLUSTER_ORDERS,
    OPEN_ACTIONS,
    OUTCOMES,
    Action,
    ClusterOrder,
    Outcome,
)
from services.healer.model.commands import COMMANDS, RUNS, Command, Run
from services.healer.model.decision import Decision
from services.healer.model.incident import Incident
from services.healer.model.notification import series_key
from services.healer.model.policy import Policy
from services.healer.model.transitions import collected
from services.healer.remediations import Remediation, registered
from shared.changes import with_changes
from shared.contracts import ActionChanged, Message, RemediationExecute, RemediationExecuted
from shared.contracts.alerts import AlertState
from shared.contracts.healing import ActionState, Level
from shared.contracts.message import deterministic_id
from shared.observe import SAVED_ALARMS
from shared.service import Context

_DAY = timedelta(days=1)


class Execution:
    """The actions of all incidents, under this policy and these waits."""

    def __init__(self, policy: Policy, waits: Waits) -> None:
        self._waits = waits
        self.policy = policy
        self.envelope = Envelope(policy)

    def propose(
        self, incident: Incident, decision: Decision, ctx: Context
    ) -> tuple[Action, list[Message]]:
        """Request the plan: a dry run, whose steps people will see."""
        action = self._new(incident, decision)
        wait = self._waits.plan
        approval = timedelta(
            seconds=self.policy.decidable_s(incident.series, incident.observation.kind)
        )
        expires = ctx.now + (approval if decision.level is Level.APPROVE else wait)
        command_id = deterministic_id("command", action.action_id, "plan")
        kept = Command(
            command_id=command_id, incident_id=incident.incident_id, due=ctx.now + _DAY + wait
        )
        ctx.records.put(COMMANDS, kept)
        proposed = action.asking(command_id, expires)
        ctx.records.put(ACTIONS, proposed)
        order = self._order(proposed, dry_run=True, expires_in=wait, ctx=ctx)
        return proposed, self._send(order, ctx)

    def begin(
        self, incident: Incident, action: Action | None, decision: Decision, ctx: Context
    ) -> tuple[Action, list[Message]]:
        """Take the lease and send the command; ``action`` is an approved proposal."""
        approved = action is not None and action.level is Level.APPROVE
        action = action or self._new(incident, decision)
        wait = self._waits.remediation
        group = self.policy.group(incident.series.host)
        lasts = 2 * wait + self._waits.settling
        lease = leases.take(action, group.name if group else "", lasts, ctx)
        command_id = deterministic_id("command", action.action_id, "execute")
        run = Run(
            command_id=command_id,
            host=incident.series.host,
            series=series_key(incident.series),
            at=ctx.now,
            due=ctx.now + max(_DAY, timedelta(seconds=self.policy.cooldown_s)),
        )
        ctx.records.put(RUNS, run)
        command = Command(
            command_id=command_id, incident_id=incident.incident_id, due=ctx.now + _DAY + wait
        )
        ctx.records.put(COMMANDS, command)
        running = action.ordered(command_id, lease.fence)
        order = self._order(running, dry_run=self.policy.dry_run, expires_in=wait, ctx=ctx)
        if approved:
            only = tuple(step.identity for step in running.steps if step.identity)
            order = with_changes(order, only=only)
        changed = self.change(running, ActionState.RUNNING, ctx)
        return running, [*changed, *self._send(order, ctx)]

    def take_back(self, action: Action, ctx: Context) -> tuple[Action, list[Message]]:
        """Undo an action that did not help."""
        wait = self._waits.remediation
        command_id = deterministic_id("command", action.action_id, "undo")
        command = Command(
            command_id=command_id, incident_id=action.incident_id, due=ctx.now + _DAY + wait
        )
        ctx.records.put(COMMANDS, command)
        undoing = action.ordered(command_id)
        order = self._order(undoing, dry_run=False, expires_in=wait, ctx=ctx)
        order = with_changes(order, undoes=action.command_id)
        changed = self.change(undoing, ActionState.UNDOING, ctx)
        return undoing, [*changed, *self._send(order, ctx)]

    @collected
    def change(
        self, action: Action, state: ActionState, ctx: Context, reason: str = ""
    ) -> Iterator[Message]:
        """Change the action's state: store, audit, publish; a final state frees the target."""
        ended = state not in OPEN_ACTIONS
        forget = ctx.now + self._waits.keep
        changed = action.becomes(state, reason, forget if ended else action.due)
        ctx.records.put(ACTIONS, changed)
        if ended:
            leases.release(changed, ctx.records)
        _audit(action, state, reason, ctx)
        yield ActionChanged(
            action_id=changed.action_id,
            incident_id=changed.incident_id,
            sequence=changed.sequence,
            state=state,
            level=changed.level,
            remediation=changed.remediation,
            series=changed.series,
            target=changed.target,
            steps=changed.steps,
            total_steps=changed.total_steps,
            expires=changed.expires,
            by=changed.by,
            reason=reason,
            undo=self.policy.undo and undoable(changed.remediation),
            at=ctx.now,
        )

    def planned(self, action_id: str, message: RemediationExecuted, ctx: Context) -> Action | None:
        """Publish the plan of a proposal, which can be decided from now on."""
        action = ctx.records.get(ACTIONS, action_id)
        if action is None or action.state is not ActionState.PROPOSED or action.planned:
            return None
        planned = action.planned_as(message)
        ctx.records.put(ACTIONS, planned)
        return planned

    def done(self, action_id: str, message: RemediationExecuted, ctx: Context) -> Action | None:
        """Record the executed steps in the action."""
        action = ctx.records.get(ACTIONS, action_id)
        if action is None:
            return None
        done = action.done_as(message)
        ctx.records.put(ACTIONS, done)
        return done

    def outcome(self, incident: Incident, ctx: Context, *, effective: bool) -> bool:
        """Record the verified outcome; returns whether it averted an alarm."""
        saved = effective and incident.state is AlertState.PREDICTED
        record = Outcome(
            action_id=incident.action_id,
            incident_id=incident.incident_id,
            series=incident.series,
            remediation=incident.remediation,
            effective=effective,
            saved=saved,
            at=ctx.now,
        )
        ctx.records.put(OUTCOMES, record)
        if saved:
            SAVED_ALARMS.labels(incident.family).inc()
            scores.saved(incident.series, ctx)
        return saved

    def _new(self, incident: Incident, decision: Decision) -> Action:
        number = (incident.incident_id, incident.attempts, incident.mails, decision.level)
        return Action(
            action_id=deterministic_id("action", *number),
            incident_id=incident.incident_id,
            series=incident.series,
            remediation=decision.remediation,
            level=decision.level,
            target=target_of(decision.remediation, incident),
        )

    def _order(
        self, action: Action, *, dry_run: bool, expires_in: timedelta, ctx: Context
    ) -> RemediationExecute:
        return RemediationExecute(
            command_id=action.command_id,
            host=action.series.host,
            incident_id=action.incident_id,
            remediation=action.remediation,
            series=action.series,
            dry_run=dry_run,
            expires=ctx.now + expires_in,
            fence=action.fence,
        )

    @staticmethod
    def _send(order: RemediationExecute, ctx: Context) -> list[Message]:
        """The command, for the machine's agent or for the healer's own cluster executor."""
        if _class(order.remediation).PLACE == "node":
            return [order]
        ctx.records.put(CLUSTER_ORDERS, ClusterOrder(command_id=order.command_id, order=order))
        return []


def _audit(action: Action, state: ActionState, reason: str, ctx: Context) -> None:
    """Write the action's new state into the audit."""
    audit.note(
        ctx.records,
        ctx.now,
        f"action {state.value}",
        action.action_id,
        action_id=action.action_id,
        incident_id=action.incident_id,
        remediation=action.remediation,
        target=action.target,
        level=action.level.value,
        by=action.by,
        reason=reason,
        fence=action.fence,
        total_steps=action.total_steps,
        steps=[step.model_dump(mode="json") for step in action.steps[:20]],
    )


def settle_s(remediation: str) -> float:
    """The shortest time in which a remediation can show an effect."""
    return _class(remediation).SETTLE_S if remediation in registered() else 0.0


def undoable(remediation: str) -> bool:
    """Return whether it can be undone."""
    return remediation in registered() and _class(remediation).UNDOABLE


def _class(name: str) -> type[Remediation]:
    return registered()[name]
