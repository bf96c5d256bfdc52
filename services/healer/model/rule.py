"""One rule of the policy: the alerts that it matches, and what is done about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from shared.contracts.alerts import AnomalyKind, SeriesRef, Severity
from shared.contracts.healing import HostPattern, Level

NAMESPACE_LABELS = ("namespace", "exported_namespace", "kubernetes_namespace")
"""Labels that may carry a series' Kubernetes namespace."""


class Strict(BaseModel):
    """A part of the policy; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(Strict):
    """A rule for items, machines and namespaces, given as shell patterns."""

    items: str = Field(default="*", description="A shell pattern of items' names.")
    hosts: HostPattern = Field(default="*", description="A shell pattern of machines' names.")
    namespaces: str = Field(
        default="*",
        description="A shell pattern of Kubernetes namespaces; * also matches series without one.",
    )
    labels: dict[str, str] = Field(
        default={},
        description="A shell pattern for each label, such as mount: /var/log*; all must match. A "
        "missing label counts as empty: ?* matches series that have it.",
    )
    kinds: tuple[AnomalyKind, ...] = Field(
        default=(),
        description="The kinds of anomaly to which the rule applies; empty: all. Alarms and "
        "predictions have the kind other.",
    )
    level: Level = Field(
        description="The level of autonomy: observe, nothing happens; suggest, people read what "
        "would help; approve, a person decides; automatic, the action runs.",
        validation_alias=AliasChoices("level", "mode"),
    )
    remediation: str = Field(
        default="", description="The remediation's name; levels approve and automatic need one."
    )
    min_severity: Severity = Field(
        default=Severity.CRITICAL,
        description="For alerts of a lower severity the action is only suggested.",
    )
    approval_s: float | None = Field(
        default=None,
        gt=0,
        description="The time to decide on this rule's proposals; null: that of the policy.",
    )
    runbook_url: str = Field(
        default="",
        max_length=2000,
        pattern=r"^(https?://[^\s<>\"]+)?$",
        description="The runbook for such alerts, linked in every notification.",
    )
    min_probability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="For predicted alarms less probable than this the action is only suggested; "
        "null: that of the policy.",
    )

    @model_validator(mode="after")
    def _remediation_to_act(self) -> Self:
        if self.level in (Level.APPROVE, Level.AUTOMATIC) and not self.remediation:
            raise ValueError(f"level {self.level} needs a remediation")
        if self.level is Level.OBSERVE and self.remediation:
            raise ValueError("level observe has no remediation")
        return self

    def matches(self, series: SeriesRef, kind: AnomalyKind) -> bool:
        """Return whether the rule is about the series, and about what is wrong with it."""
        return (
            (not self.kinds or kind in self.kinds)
            and fnmatchcase(series.item, self.items)
            and fnmatchcase(series.host, self.hosts)
            and fnmatchcase(namespace_of(series), self.namespaces)
            and labels_fit(series.labels, self.labels)
        )

    def covers(self, other: Rule) -> bool:
        """Return whether it matches all that the other rule matches, which then never applies."""
        return (
            (not self.kinds or (bool(other.kinds) and {*other.kinds} <= {*self.kinds}))
            and _within(other.items, self.items)
            and _within(other.hosts, self.hosts)
            and _within(other.namespaces, self.namespaces)
            and all(
                _within(other.labels.get(name, "*"), pattern)
                for name, pattern in self.labels.items()
            )
        )


def labels_fit(labels: Mapping[str, str], patterns: Mapping[str, str]) -> bool:
    """Return whether each pattern matches its label; a missing label is empty, as in Prometheus."""
    return all(fnmatchcase(labels.get(name, ""), pattern) for name, pattern in patterns.items())


_WILD = re.compile(r"[*?[]")


def _within(narrow: str, wide: str) -> bool:
    """Return whether everything that matches one shell pattern also matches the other."""
    if narrow == wide or not _WILD.search(narrow):
        return fnmatchcase(narrow, wide) or narrow == wide
    # Where a pattern's only star is its end or its beginning, the rest of it decides.
    if wide.endswith("*") and not _WILD.search(wide[:-1]):
        return narrow.startswith(wide[:-1])
    if wide.startswith("*") and not _WILD.search(wide[1:]):
        return narrow.endswith(wide[1:])
    return False


def namespace_of(series: SeriesRef) -> str:
    """The Kubernetes namespace in a series' labels; empty for a machine's own series."""
    return next((series.labels[n] for n in NAMESPACE_LABELS if n in series.labels), "")
