"""The safety envelope: gathers the present facts, by which the policy decides."""

from __future__ import annotations

from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from services.healer.actions import audit, leases
from services.healer.model.action import (
    MACHINES,
    stopped,
)
from services.healer.model.commands import RUNS
from services.healer.model.decision import Decision, Facts
from services.healer.model.incident import Incident
from services.healer.model.notification import STORM, series_key
from services.healer.model.policy import Policy
from services.healer.remediations import registered
from shared.contracts.alerts import AlertState
from shared.contracts.healing import Level
from shared.service import Context

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_MAX_MACHINES = 100_000
_COUNTED_FOR = timedelta(seconds=60)
"""The time for which a group's size is cached, because alerts may come by the thousand."""


class Envelope:
    """Decides about incidents by the policy and the present facts."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._sizes: dict[str, tuple[datetime, int]] = {}

    def decide(self, incident: Incident, ctx: Context) -> Decision:
        """The policy's decision about the incident now."""
        if self.policy.rule(incident.series, incident.observation.kind) is None:
            # Nothing could be done about it, so there is nothing to weigh and nothing to audit;
            # in a storm that is most alerts.
            return Decision(level=Level.SUGGEST)
        facts = self.facts(incident, ctx)
        decision = self.policy.decide(incident.series, incident.severity, facts)
        audit.note_decision(
            ctx.records,
            self.policy,
            incident.series,
            incident.severity,
            facts,
            decision,
            incident.incident_id,
        )
        return decision

    def facts(self, incident: Incident, ctx: Context) -> Facts:
        """The present facts that the safety envelope considers."""
        records, series = ctx.records, incident.series
        on_host = records.find(RUNS, group=series.host)
        most = self.policy.all_runs_per_hour + 1
        anywhere = records.find(RUNS, limit=most, newest_first=True)
        same = [ctx.now - r.at for r in on_host if r.series == series_key(series)]
        rule = self.policy.rule(series, incident.observation.kind)
        target = target_of(rule.remediation, incident) if rule else ""
        group = self.policy.group(series.host)
        storm = records.get(STORM, "storm")
        return Facts(
            now=ctx.now,
            stopped=stopped(records, series.host),
            seconds_since_same=min((s.total_seconds() for s in same), default=None),
            attempts=sum(age < _DAY for age in same),
            runs_on_host=sum(ctx.now - r.at < _HOUR for r in on_host),
            runs=sum(ctx.now - r.at < _HOUR for r in anywhere),
            group=group.name if group else "",
            group_size=self._machines(group.hosts, ctx) if group else 0,
            group_active=len(leases.hosts_worked_on(group.name, records) - {series.host})
            if group
            else 0,
            storm=storm is not None and storm.active,
            held_by=leases.holder(target, records),
            probability=_probability(incident),
            kind=incident.observation.kind,
        )

    def _machines(self, pattern: str, ctx: Context) -> int:
        """The number of machines seen within a day; others must not increase a group's share."""
        counted, size = self._sizes.get(pattern, (None, 0))
        if counted is None or not timedelta() <= ctx.now - counted < _COUNTED_FOR:
            known = ctx.records.find(MACHINES, limit=_MAX_MACHINES)
            size = sum(
                ctx.now - machine.seen < _DAY and fnmatchcase(machine.host, pattern)
                for machine in known
            )
            self._sizes[pattern] = (ctx.now, size)
        return size


def _probability(incident: Incident) -> float | None:
    return incident.observation.probability if incident.state is AlertState.PREDICTED else None


def target_of(name: str, incident: Incident) -> str:
    """The target of a remediation of this incident, as a key for leases."""
    known = registered().get(name)
    return known.target(incident.series) if known else incident.series.host
