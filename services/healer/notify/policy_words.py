"""The policy about an alert in words, which explains why people are notified."""

from __future__ import annotations

from services.healer.model.policy import Policy
from shared.contracts.alerts import AnomalyKind, SeriesRef


def in_words(policy: Policy, series: SeriesRef, kind: AnomalyKind) -> str:
    """The deciding rule, e.g. ``rule 1 of the policy (df.* on *) says approve``."""
    for number, rule in enumerate(policy.rules, start=1):
        if rule.matches(series, kind):
            return f"rule {number} of the policy ({rule.items} on {rule.hosts}) says {rule.level}"
    return "no rule of the policy matches it, so actions are only suggested"
