"""Decisions on actions, the kill switch, correlation rules, labels, and the audit log."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from services.healer.actions import audit
from services.healer.actions.scores import SCORES, Score
from services.healer.api.dependencies import Provided
from services.healer.correlation.rules import RULES, Rule
from services.healer.model.action import ACTIONS, OPEN_ACTIONS, OUTCOMES, SWITCHES, Action
from services.healer.model.incident import INCIDENTS
from services.healer.people.acknowledgement import NotFound
from services.healer.remediations.kill_switch import Switch
from shared.contracts import (
    ActionDecide,
    AnomalyJudge,
    HealingResume,
    HealingStop,
    RuleDecide,
)
from shared.contracts.correlation import RuleState
from shared.contracts.healing import ActionState, Person, Reason

routes = APIRouter(tags=["acting"])
_Limit = Annotated[int, Query(ge=1, le=5000)]


class Said(BaseModel):
    """A person and a reason."""

    by: Annotated[Person, Body()]
    reason: Annotated[Reason, Body()] = ""


class SwitchSaid(Said):
    """A reason and a pattern of machines."""

    hosts: Annotated[str, Body(min_length=1, max_length=253)] = "*"


class Judged(Said):
    """A judgement whether it was an anomaly."""

    anomaly: Annotated[bool, Body()] = False


class Ledger(BaseModel):
    """The ledger of actions."""

    saved: int
    """Predicted alarms that never had to fire."""
    repaired: int
    """Alarms that ended because of an action."""
    failed: int
    """Actions after which the value was no better."""
    items: list[Score]
    """The ledger by item: accuracy, averted alarms, and missed alarms."""


@routes.get("/actions")
def actions(
    healer: Provided,
    state: Annotated[list[ActionState] | None, Query()] = None,
    limit: _Limit = 100,
) -> list[Action]:
    """List actions, newest first; without a state, the open ones."""
    wanted = [s.value for s in state or OPEN_ACTIONS]
    with healer.unit() as unit:
        return unit.records.find(ACTIONS, status=wanted, limit=limit, newest_first=True)


@routes.post("/actions/{action_id}/{decision}")
def decide(
    healer: Provided, action_id: str, decision: Literal["approve", "refuse"], body: Said
) -> Action:
    """Approve or refuse an action; returns its new state, with the reason if it did not run."""
    message = ActionDecide(
        action_id=action_id, approve=decision == "approve", by=body.by, reason=body.reason
    )
    with healer.unit() as unit:
        if unit.records.get(ACTIONS, action_id) is None:
            raise NotFound("there is no action with this id")
        ctx = healer.context(unit.records)
        unit.emit(*healer.handlers.decisions.action_decide(message, ctx))
        decided = unit.records.get(ACTIONS, action_id)
    if decided is None:
        raise NotFound("the action is over")
    return decided


@routes.get("/healing")
def switches(healer: Provided) -> list[Switch]:
    """List the patterns of machines for which healing is stopped."""
    with healer.unit() as unit:
        return unit.records.find(SWITCHES)


@routes.post("/healing/{change}")
def switch(healer: Provided, change: Literal["stop", "resume"], body: SwitchSaid) -> list[Switch]:
    """Stop all healing on the machines of a pattern at once, or resume it."""
    kind = HealingStop if change == "stop" else HealingResume
    message = kind(
        switch_id=str(uuid.uuid4()),
        hosts=body.hosts,
        by=body.by,
        reason=body.reason,
        at=healer.clock(),
    )
    decisions = healer.handlers.decisions
    with healer.unit() as unit:
        ctx = healer.context(unit.records)
        if isinstance(message, HealingStop):
            unit.emit(message, *decisions.healing_stop(message, ctx))
        else:
            unit.emit(message, *decisions.healing_resume(message, ctx))
        return unit.records.find(SWITCHES)


@routes.get("/rules")
def rules(healer: Provided, state: RuleState | None = None, limit: _Limit = 500) -> list[Rule]:
    """List correlation rules with their statistics."""
    with healer.unit() as unit:
        return unit.records.find(RULES, status=state, limit=limit)


@routes.post("/rules/{rule_id}/{decision}")
def decide_rule(
    healer: Provided, rule_id: str, decision: Literal["accept", "reject"], body: Said
) -> Rule:
    """Accept a rule, so that B is attached to A; reject it; or retire an accepted one."""
    message = RuleDecide(
        rule_id=rule_id,
        accept=decision == "accept",
        by=body.by,
        reason=body.reason,
        at=healer.clock(),
    )
    with healer.unit() as unit:
        ctx = healer.context(unit.records)
        unit.emit(*healer.handlers.decisions.rule_decide(message, ctx))
        rule = unit.records.get(RULES, rule_id)
    if rule is None:
        raise NotFound("there is no rule with this id")
    return rule


@routes.post("/alerts/{incident_id}/judge", status_code=204)
def judge(healer: Provided, incident_id: str, body: Judged) -> None:
    """Label an alarm; "not an anomaly" moves its detector's limit for that series."""
    message = AnomalyJudge(
        alert_id=incident_id,
        anomaly=body.anomaly,
        by=body.by,
        reason=body.reason,
        at=healer.clock(),
    )
    with healer.unit() as unit:
        if unit.records.get(INCIDENTS, incident_id) is None:
            raise NotFound("there is no alert with this id")
        ctx = healer.context(unit.records)
        unit.emit(*healer.handlers.decisions.anomaly_judge(message, ctx))


@routes.get("/ledger")
def ledger(healer: Provided) -> Ledger:
    """Averted alarms, repaired ones, actions that did not help, and the score of each item."""
    with healer.unit() as unit:
        counts = unit.records.count(OUTCOMES)
        found = unit.records.find(SCORES)
    done = {name: counts.get(name, 0) for name in ("saved", "repaired", "failed")}
    return Ledger(**done, items=sorted(found, key=lambda score: score.item))


@routes.get("/audit", response_class=PlainTextResponse)
def export_audit(
    healer: Provided,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int | None, Query(ge=1, le=100_000)] = None,
) -> StreamingResponse:
    """The audit log as JSON lines: all of it, or up to ``limit`` entries after entry ``after``.

    The log's last number and hash are in the headers audit-number and audit-head.
    """
    with healer.unit() as unit:
        head = unit.records.get(audit.HEADS, "head") or audit.Head()

    def pages() -> Iterator[bytes]:
        # Each in a transaction of its own that is over when the page goes out: nobody waits for a
        # slow reader, and the next page may be read in another thread, which could not end it.
        end = head.number if limit is None else min(head.number, after + limit)
        for begin in range(after, end, audit.AT_ONCE):
            with healer.unit() as unit:
                page = audit.page(unit.records, begin, end)
            yield b"".join(page)

    return StreamingResponse(
        pages(),
        headers={"audit-head": head.hash, "audit-number": str(head.number)},
        media_type="application/x-ndjson",
    )
