"""Inhibition: an alert that follows from another one is attached to it and not notified itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from services.healer.notify.matchers import Matchers, all_match, value_of
from shared.store import Collection


class Inhibition(BaseModel):
    """While a source alert is open, target alerts with equal labels are attached to it.

    An alert that matches both sides is never a target: two causes would hide each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=200, description="The rule's name.")
    source: Matchers = Field(min_length=1, description="The alerts that are a cause.")
    target: Matchers = Field(min_length=1, description="The alerts that follow from the cause.")
    equal: tuple[str, ...] = Field(
        default=("host",),
        description="The labels that must be equal in both; an absent label counts as empty, one "
        "that names a machine (`instance`, `node`) as the alert's machine.",
    )
    accepted_by: str = Field(
        default="",
        max_length=200,
        description="The person who accepted the rule; empty: it was configured.",
    )

    def is_source(self, labels: Mapping[str, str]) -> bool:
        """Return whether the alert is a cause under this rule."""
        return all_match(self.source, labels)

    def is_target(self, labels: Mapping[str, str]) -> bool:
        """Return whether the alert follows from a cause under this rule."""
        return all_match(self.target, labels) and not self.is_source(labels)

    def place(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The labels that must be alike."""
        return tuple(value_of(name, labels) for name in self.equal)


INHIBITIONS = Collection("inhibitions", Inhibition, key=lambda rule: rule.name)
"""Rules accepted while running, beside the configured ones."""

Key = TypeVar("Key")


class Causes:
    """The open causes under some rules, found by their equal labels."""

    def __init__(
        self, rules: Sequence[Inhibition], alerts: Iterable[tuple[str, Mapping[str, str]]]
    ) -> None:
        self._rules = rules
        self._found: dict[tuple[int, tuple[str, ...]], str] = {}
        for alert_id, labels in alerts:
            for number, rule in enumerate(rules):
                if rule.is_source(labels):
                    self._found.setdefault((number, rule.place(labels)), alert_id)

    def of(self, alert_id: str, labels: Mapping[str, str]) -> tuple[str, str] | None:
        """Rule name and id of the (first given) cause of this alert, or None."""
        for number, rule in enumerate(self._rules):
            if rule.is_target(labels):
                cause = self._found.get((number, rule.place(labels)))
                if cause is not None and cause != alert_id:
                    return rule.name, cause
        return None
