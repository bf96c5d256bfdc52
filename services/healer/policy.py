"""Who handles what: per item a machine or a person, and the envelope a machine stays inside."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.contracts.alerts import SeriesRef, Severity


class Mode(StrEnum):
    """What is done about an alarm."""

    OBSERVE = "observe"
    """Publish its states, nothing else."""
    MAIL = "mail"
    """Collect the evidence and mail a person."""
    AUTOMATIC = "automatic"
    """Carry out the remediation, verify it, and mail what was done."""


RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
"""Severities in order."""


class Rule(BaseModel):
    """What holds for the items and machines it names; patterns are the shell's (``disk.*``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: str = Field(default="*", description="Pattern of item names.")
    hosts: str = Field(default="*", description="Pattern of machine names.")
    mode: Mode
    remediation: str = Field(default="", description="With automatic: which one.")
    least: Severity = Field(
        default=Severity.CRITICAL, description="With automatic: below this severity, mail."
    )

    @model_validator(mode="after")
    def _remediation_if_automatic(self) -> Self:
        if (self.mode is Mode.AUTOMATIC) != bool(self.remediation):
            msg = "mode automatic, and only that, needs a remediation"
            raise ValueError(msg)
        return self

    def matches(self, series: SeriesRef) -> bool:
        """Whether the series is one the rule is about."""
        return fnmatchcase(series.item, self.items) and fnmatchcase(series.host, self.hosts)


@dataclass(frozen=True)
class Past:
    """What was done before that limits what may be done now."""

    seconds_since_same: float | None
    """Since this remediation last ran for this series; None: not within the cooldown."""
    runs_on_host: int
    """Remediations on this machine within the last hour."""


@dataclass(frozen=True)
class Decision:
    """What to do, and where a rule's wish was not followed, why not."""

    mode: Mode
    remediation: str = ""
    reason: str = ""


class Policy(BaseModel):
    """The rules, of which the first that matches holds; without one, mail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[Rule, ...] = ()
    automatic: bool = Field(default=True, description="False: the kill switch; all becomes mail.")
    dry_run: bool = Field(default=False, description="Only say what would be done.")
    cooldown_s: float = Field(
        default=600, ge=0, description="Pause before a remediation runs again for a series."
    )
    runs_per_hour: int = Field(default=6, ge=0, description="Remediations on one machine an hour.")

    def unknown(self, registered: Collection[str]) -> list[str]:
        """Names of remediations in the rules that are not among ``registered``."""
        return sorted({r.remediation for r in self.rules if r.remediation} - set(registered))

    def decide(self, series: SeriesRef, severity: Severity, past: Past) -> Decision:
        """What to do about an alarm of this severity on this series."""
        rule = next((r for r in self.rules if r.matches(series)), None)
        if rule is None:
            return Decision(Mode.MAIL)
        if rule.mode is not Mode.AUTOMATIC:
            return Decision(rule.mode)
        reason = self._forbids(rule, severity, past)
        return Decision(Mode.MAIL if reason else Mode.AUTOMATIC, rule.remediation, reason)

    def _forbids(self, rule: Rule, severity: Severity, past: Past) -> str:
        name = rule.remediation
        if not self.automatic:
            return f"{name} did not run: automatic handling is switched off."
        if RANK[severity] < RANK[rule.least]:
            return f"{name} did not run: the severity is below {rule.least}."
        if past.seconds_since_same is not None:
            return (
                f"{name} did not run again: it ran {past.seconds_since_same:.0f} s ago, "
                f"and {self.cooldown_s:.0f} s must lie between two runs."
            )
        if past.runs_on_host >= self.runs_per_hour:
            return (
                f"{name} did not run: {past.runs_on_host} remediations ran on this machine "
                "within the last hour, which is the limit."
            )
        return ""


def worst(severities: Collection[Severity]) -> Severity:
    """The most severe of them; info when there is none."""
    return max(severities, key=RANK.__getitem__, default=Severity.INFO)


def worse(one: Severity, other: Severity) -> bool:
    """Whether ``one`` is more severe than ``other``."""
    return RANK[one] > RANK[other]
