"""The policy: a level per item, machine and namespace, and the safety envelope.

``decide`` and ``forbids`` are pure: from the rules, and the facts of the moment, to a decision.
The facts are kept in the audit, so that every decision can be computed again.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import datetime, time
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from pydantic import (
    Field,
    field_validator,
)

from services.healer.model.decision import Decision, Facts
from services.healer.model.rule import Rule, Strict
from shared.contracts.alerts import AnomalyKind, SeriesRef, Severity
from shared.contracts.healing import HostPattern, Level
from shared.time_zones import time_zone

RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
"""Severities in order."""
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Quiet(Strict):
    """Hours in which automatic actions require approval."""

    days: tuple[str, ...] = Field(
        default=_DAYS,
        description="The days of the week on which it begins: mon, tue, wed, thu, fri, sat, sun.",
    )
    start: time = Field(description="The local time at which it begins, such as 09:00.")
    end: time = Field(
        description="The local time at which it ends; a time at or before start is on the next day."
    )
    zone: str = Field(
        default="UTC", description="The IANA name of the time zone, such as Asia/Shanghai."
    )

    @field_validator("days")
    @classmethod
    def _are_days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(_DAYS))
        if unknown:
            raise ValueError(f"no such days: {', '.join(unknown)}; there are {', '.join(_DAYS)}")
        return value

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        return time_zone(value).key

    def holds(self, now: datetime) -> bool:
        """Return whether ``now`` lies within; one over midnight belongs to its first day."""
        local = now.astimezone(ZoneInfo(self.zone))
        today, at = _DAYS[local.weekday()], local.time()
        if self.start < self.end:
            return today in self.days and self.start <= at < self.end
        yesterday = _DAYS[local.weekday() - 1]
        return (today in self.days and at >= self.start) or (
            yesterday in self.days and at < self.end
        )


class Group(Strict):
    """Machines of which only a share may be acted on at once."""

    name: str = Field(min_length=1, max_length=100, description="The group's name.")
    hosts: HostPattern = Field(description="A shell pattern of machines' names.")
    share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="The share of the group's machines that may be acted on at once, but at "
        "least one.",
    )

    def most(self, size: int) -> int:
        """Return how many of ``size`` machines may be worked on at once."""
        return max(1, math.floor(self.share * size + 1e-9))


class Policy(Strict):
    """The policy: the first matching rule applies; without one, actions are suggested."""

    rules: tuple[Rule, ...] = Field(
        default=(), description="The rules, in order; the first that matches an alert applies."
    )
    automatic: bool = Field(
        default=True,
        description="false: nothing acts, even if approved; actions are only suggested.",
    )
    dry_run: bool = Field(
        default=False, description="true: actions are planned and reported, and nothing is changed."
    )
    cooldown_s: float = Field(
        default=600,
        ge=0,
        description="The time after an action in which nothing else acts on the same "
        "series or target.",
    )
    attempts_per_day: int = Field(
        default=5,
        ge=1,
        description="The number of actions for one series within a day; after that, a person is "
        "notified instead.",
    )
    runs_per_hour: int = Field(
        default=6,
        ge=0,
        description="The number of actions on one machine within an hour; a person decides on "
        "further ones.",
    )
    all_runs_per_hour: int = Field(
        default=60,
        ge=0,
        description="The number of actions on all machines within an hour; a person decides on "
        "further ones.",
    )
    groups: tuple[Group, ...] = Field(
        default=(), description="Groups of machines; the first that matches a machine applies."
    )
    storm_stop: bool = Field(
        default=True,
        description="true: actions are suspended during a storm of alerts, which usually "
        "has one common cause.",
    )
    quiet: tuple[Quiet, ...] = Field(
        default=(), description="Hours in which automatic actions require approval."
    )
    approval_s: float = Field(
        default=3600,
        gt=0,
        description="The time that people have to decide on a proposed action; then it "
        "expires and people are notified.",
    )
    min_probability: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="For predicted alarms less probable than this, actions are only suggested.",
    )
    undo: bool = Field(
        default=True,
        description="true: an action that did not help is undone, if the remediation supports it.",
    )

    def unknown(self, registered: Collection[str]) -> list[str]:
        """Names of remediations in the rules that are not among ``registered``."""
        return sorted({r.remediation for r in self.rules if r.remediation} - set(registered))

    def rule(self, series: SeriesRef, kind: AnomalyKind = AnomalyKind.OTHER) -> Rule | None:
        """The rule that applies to a series with an anomaly of this kind."""
        return next((r for r in self.rules if r.matches(series, kind)), None)

    def decidable_s(self, series: SeriesRef, kind: AnomalyKind) -> float:
        """Return how long a proposal about a series can be decided."""
        rule = self.rule(series, kind)
        return (rule and rule.approval_s) or self.approval_s

    def group(self, host: str) -> Group | None:
        """The group a machine belongs to."""
        return next((g for g in self.groups if fnmatchcase(host, g.hosts)), None)

    def decide(self, series: SeriesRef, severity: Severity, facts: Facts) -> Decision:
        """Decide what to do about an alarm of this severity on this series."""
        rule = self.rule(series, facts.kind)
        if rule is None:
            return Decision(level=Level.SUGGEST)
        name = rule.remediation
        if rule.level in (Level.OBSERVE, Level.SUGGEST):
            return Decision(level=rule.level, remediation=name)
        weak = self._too_weak(rule, severity, facts)
        again = "" if weak else self._again(name, facts)
        reason = weak or again or self.forbids(name, facts)
        if reason:
            return Decision(
                level=Level.SUGGEST, remediation=name, reason=reason, exhausted=bool(again)
            )
        if rule.level is Level.AUTOMATIC and any(q.holds(facts.now) for q in self.quiet):
            reason = f"{name} waits for approval: these are quiet hours."
            return Decision(level=Level.APPROVE, remediation=name, reason=reason)
        return Decision(level=rule.level, remediation=name)

    def _too_weak(self, rule: Rule, severity: Severity, facts: Facts) -> str:
        """Return why no action on such an alarm is possible; empty if one is."""
        name, probability = rule.remediation, facts.probability
        if RANK[severity] < RANK[rule.min_severity]:
            return f"{name} did not run: the severity is below {rule.min_severity}."
        needed = self._min_probability(rule)
        if probability is not None and probability < needed:
            return (
                f"{name} did not run: the alarm comes with a probability of "
                f"{100 * probability:.0f} %, and acting needs {100 * needed:.0f} %."
            )
        return ""

    def likely_enough(self, series: SeriesRef, probability: float | None) -> bool:
        """Return whether an alarm of this probability, if it is only predicted, may be acted on."""
        rule = self.rule(series)
        return rule is None or probability is None or probability >= self._min_probability(rule)

    def _min_probability(self, rule: Rule) -> float:
        return self.min_probability if rule.min_probability is None else rule.min_probability

    def _again(self, name: str, facts: Facts) -> str:
        """Return why no further attempt is allowed; empty if one is."""
        if facts.seconds_since_same is not None and facts.seconds_since_same < self.cooldown_s:
            return (
                f"{name} did not run again: it ran {facts.seconds_since_same:.0f} s ago, "
                f"and {self.cooldown_s:.0f} s must lie between two runs."
            )
        if facts.attempts >= self.attempts_per_day:
            return (
                f"{name} did not run again: it ran {facts.attempts} times within a day, "
                "which is the limit. It helps only for a while."
            )
        return ""

    def forbids(self, name: str, facts: Facts) -> str:
        """Return why no action is allowed now, approved or not; empty if one is."""
        checks = (
            (not self.automatic, "acting is switched off in the policy"),
            (bool(facts.stopped), f"stopped by {facts.stopped}"),
            (bool(facts.held_by), "another action is under way on this target"),
            (
                facts.runs_on_host >= self.runs_per_hour,
                (
                    f"{facts.runs_on_host} remediations ran on this machine "
                    "within the last hour, which is the limit"
                ),
            ),
            (
                facts.runs >= self.all_runs_per_hour,
                f"{facts.runs} remediations ran within the last hour, which is the limit",
            ),
            (
                self.storm_stop and facts.storm,
                "there is a storm of alerts, whose cause lies elsewhere",
            ),
            (
                self._crowded(facts),
                (
                    f"{facts.group_active} of the {facts.group_size} machines of {facts.group} are "
                    "being worked on, which is the limit"
                ),
            ),
        )
        return next((f"{name} did not run: {why}." for wrong, why in checks if wrong), "")

    def _crowded(self, facts: Facts) -> bool:
        group = next((g for g in self.groups if g.name == facts.group), None)
        return group is not None and facts.group_active >= group.most(facts.group_size)


def worst(severities: Collection[Severity]) -> Severity:
    """The most severe of them; info when there is none."""
    return max(severities, key=RANK.__getitem__, default=Severity.INFO)


def worse(one: Severity, other: Severity) -> bool:
    """Return whether ``one`` is more severe than ``other``."""
    return RANK[one] > RANK[other]
