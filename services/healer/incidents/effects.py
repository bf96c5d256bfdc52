"""What remediations do to the very series that are watched."""

from __future__ import annotations

from collections.abc import Sequence

from services.healer.model.action import OUTCOMES
from services.healer.model.incident import Incident, Phase
from shared.contracts import AnomalyDetected
from shared.contracts.alerts import Direction
from shared.service import Context

_NOTICED_MS = 600_000
"""How long a detector may take to notice what a remediation changed."""


def is_wanted(message: AnomalyDetected, past: Sequence[Incident], ctx: Context) -> bool:
    """Whether a remediation just brought the value where it now is: people know that already.

    Only for a move away from the alarm, soon after a verified success; ``past``: the series'
    incidents, newest first.
    """
    last = next(iter(past), None)
    if last is None or last.phase is not Phase.CLOSED or not last.action_id:
        return False
    outcome = ctx.records.get(OUTCOMES, last.action_id)
    away = Direction.DROP if last.sight.above else Direction.SPIKE
    if outcome is None or not outcome.effective or message.direction is not away:
        return False
    return abs(message.time_ms - outcome.at.timestamp() * 1000) < _NOTICED_MS
