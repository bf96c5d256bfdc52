"""The time limits of an action's parts, from the settings."""

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
