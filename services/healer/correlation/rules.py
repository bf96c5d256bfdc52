"""The records of rules: proposed, accepted by a person, enforced, retired by drift.

An accepted rule is an inhibition of the alert lifecycle: while A is open, B is attached to it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from services.healer.actions import audit
from services.healer.correlation.mining import (
    Alarm,
    Pair,
    Transaction,
    drifted,
    measured,
    pairs,
    transactions,
)
from services.healer.correlation.settings import Correlation
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.policy import Group
from services.healer.model.transitions import collected
from services.healer.notify.inhibition import INHIBITIONS, Inhibition
from shared.changes import with_changes
from shared.contracts import CorrelationChanged, Message, RuleDecide
from shared.contracts.correlation import RuleState
from shared.contracts.message import deterministic_id
from shared.service import Context
from shared.store import Collection

MACHINE = "machine"
_MAX_INCIDENTS = 50_000
_MAX_PROPOSED, _AT_ONCE = 2_000, 1_000
_FORGOTTEN = f"there are more than {_MAX_PROPOSED} newer proposals"


class Rule(BaseModel):
    """A rule with its numbers as last measured."""

    model_config = ConfigDict(frozen=True)

    rule_id: str
    sequence: int = 0
    state: RuleState
    scope: str
    hosts: str = "*"
    """The pattern of the machines, where the scope is a group."""
    pair: Pair
    by: str = ""
    reason: str = ""


RULES = Collection("correlation-rules", Rule, key=lambda r: r.rule_id, status=lambda r: r.state)


@collected
def mine(settings: Correlation, groups: Iterable[Group], ctx: Context) -> Iterator[Message]:
    """Look for rules on machines and in groups; propose what is new, retire what drifted."""
    since = ctx.now - timedelta(days=settings.days)
    seen = ctx.records.find(INCIDENTS, limit=_MAX_INCIDENTS, newest_first=True)
    incidents = [incident for incident in seen if incident.opened_at >= since]
    for scope, hosts in ((MACHINE, "*"), *((g.name, g.hosts) for g in groups)):
        alarms = list(_alarms(incidents, scope, hosts))
        found = transactions(alarms, settings.window_s)
        for pair in pairs(found, settings.min_support, settings.min_confidence):
            if pair.lift > settings.min_lift and pair.count >= settings.min_count:
                yield from _propose(scope, hosts, pair, ctx)
        recent = ctx.now - timedelta(days=settings.drift_days)
        young = transactions([a for a in alarms if a.at >= recent], settings.window_s)
        yield from _retire(scope, young, settings, ctx)
    # Pairs of items are as many as senders like; a proposal still true is made again.
    for rule in ctx.records.find(
        RULES, status=RuleState.PROPOSED, newest_first=True, offset=_MAX_PROPOSED, limit=_AT_ONCE
    ):
        ctx.records.delete(RULES, rule.rule_id)
        update = {"state": RuleState.RETIRED, "sequence": rule.sequence + 1}
        yield news(with_changes(rule, **update, reason=_FORGOTTEN), ctx)


@collected
def decided(message: RuleDecide, ctx: Context) -> Iterator[Message]:
    """A person decides: what is accepted is enforced from now on."""
    rule = ctx.records.get(RULES, message.rule_id)
    wanted = RuleState.ACCEPTED if message.accept else RuleState.REJECTED
    if rule is None or rule.state is wanted:
        return
    if not message.accept and rule.state is RuleState.ACCEPTED:
        wanted = RuleState.RETIRED
    update = {"by": message.by, "reason": message.reason}
    yield from _change(with_changes(rule, **update), wanted, ctx)


def _alarms(incidents: Iterable[Incident], scope: str, hosts: str) -> Iterator[Alarm]:
    for incident in incidents:
        if fnmatch.fnmatchcase(incident.series.host, hosts):
            place = incident.series.host if scope == MACHINE else scope
            yield Alarm(place, incident.series.item, incident.opened_at)


@collected
def _propose(scope: str, hosts: str, pair: Pair, ctx: Context) -> Iterator[Message]:
    rule_id = deterministic_id("correlation", scope, pair.cause, pair.effect)
    known = ctx.records.get(RULES, rule_id)
    if known is not None and known.state is not RuleState.RETIRED:
        # Its numbers are kept up to date; a person's decision stands.
        if pair != known.pair:
            measured_anew = with_changes(known, pair=pair, sequence=known.sequence + 1)
            ctx.records.put(RULES, measured_anew)
            yield news(measured_anew, ctx)
        return
    if known is not None and known.by:
        return  # a person retired it; drift alone may be taken back by the data
    # The sequence of a forgotten rule goes on growing, so that who knew it takes its events.
    sequence = known.sequence if known else int(ctx.now.timestamp())
    rule = Rule(
        rule_id=rule_id,
        sequence=sequence,
        state=RuleState.PROPOSED,
        scope=scope,
        hosts=hosts,
        pair=pair,
    )
    yield from _change(rule, RuleState.PROPOSED, ctx)


@collected
def _retire(
    scope: str, young: list[Transaction], settings: Correlation, ctx: Context
) -> Iterator[Message]:
    for rule in ctx.records.find(RULES, status=RuleState.ACCEPTED):
        if rule.scope != scope:
            continue
        causes = sum(rule.pair.cause in t for t in young)
        now = measured(young, rule.pair.cause, rule.pair.effect)
        if now is None or causes < settings.drift_causes:
            continue
        if drifted(now, causes, settings.min_confidence):
            reason = (
                f"of the last {causes} times {rule.pair.cause} alarmed, {rule.pair.effect} "
                f"followed {now.count} times only"
            )
            update = {"pair": now, "reason": reason, "by": ""}
            yield from _change(with_changes(rule, **update), RuleState.RETIRED, ctx)


@collected
def _change(rule: Rule, state: RuleState, ctx: Context) -> Iterator[Message]:
    changed = with_changes(rule, state=state, sequence=rule.sequence + 1)
    ctx.records.put(RULES, changed)
    if state is RuleState.ACCEPTED:
        ctx.records.put(INHIBITIONS, inhibition(changed))
    else:
        ctx.records.delete(INHIBITIONS, _name(changed))
    pair = rule.pair
    audit.note(
        ctx.records,
        ctx.now,
        f"rule {state.value}",
        rule.rule_id,
        rule_id=rule.rule_id,
        scope=rule.scope,
        by=changed.by,
        reason=changed.reason,
        **vars(pair),
    )
    yield news(changed, ctx)


def news(rule: Rule, ctx: Context) -> CorrelationChanged:
    """The event that says how a rule is."""
    return CorrelationChanged(
        rule_id=rule.rule_id,
        sequence=rule.sequence,
        state=rule.state,
        scope=rule.scope,
        by=rule.by,
        reason=rule.reason,
        at=ctx.now,
        **vars(rule.pair),
    )


def inhibition(rule: Rule) -> Inhibition:
    """The rule as the alert lifecycle enforces it."""
    ends = []
    for item in (rule.pair.cause, rule.pair.effect):
        matchers = [{"name": "item", "value": item}]
        if rule.scope != MACHINE:
            pattern = fnmatch.translate(rule.hosts).removeprefix("(?s:").removesuffix(r")\Z")
            matchers.append({"name": "host", "value": pattern, "op": "=~"})
        ends.append(matchers)
    return Inhibition.model_validate(
        {
            "name": _name(rule),
            "source": ends[0],
            "target": ends[1],
            "equal": ("host",) if rule.scope == MACHINE else (),
            "accepted_by": rule.by,
        }
    )


def _name(rule: Rule) -> str:
    return f"correlation {rule.scope}: {rule.pair.cause} -> {rule.pair.effect}"[:200]
