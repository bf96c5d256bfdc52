"""How long an action's parts may take, as its settings say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Waits:
    """The time for an agent's plan, for a remediation, for its effect, and for its record."""

    plan: timedelta
    remediation: timedelta
    settling: timedelta
    keep: timedelta
