"""Actions as people see and decide them, each by its newest change."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.client.alerts.records import KEPT, labels_of
from shared.contracts import ActionChanged, ActionState, Level, RemediationStep
from shared.service import Context
from shared.store import Collection

_MAX_STEPS = 50
OPEN = tuple(
    state.value
    for state in (
        ActionState.PROPOSED,
        ActionState.RUNNING,
        ActionState.VERIFYING,
        ActionState.UNDOING,
    )
)


class ActionView(BaseModel):
    """An action; ``sequence`` is that of its newest change."""

    model_config = ConfigDict(frozen=True)

    action_id: str
    incident_id: str
    sequence: int
    state: ActionState
    level: Level
    remediation: str
    target: str
    host: str
    item: str
    labels: str
    steps: tuple[RemediationStep, ...]
    """The first of them; ``total_steps`` counts all."""
    total_steps: int
    expires: AwareDatetime | None
    by: str
    reason: str
    undo: bool = False
    """True if it is undone if it does not help."""
    at: AwareDatetime

    @property
    def freed_bytes(self) -> int:
        """Return what the steps that are known free, or would."""
        return sum(step.freed_bytes for step in self.steps)

    @property
    def is_over(self) -> bool:
        """True if nothing more becomes of it."""
        return self.state.value not in OPEN

    def awaits_decision(self, now: datetime) -> bool:
        """Return whether a person may approve or refuse it."""
        waits = self.state is ActionState.PROPOSED and self.level is Level.APPROVE
        return waits and (self.expires is None or self.expires > now)


ACTIONS = Collection(
    "client-actions",
    ActionView,
    key=lambda a: a.action_id,
    group=lambda a: a.incident_id,
    status=lambda a: a.state.value,
    due=lambda a: None if a.state.value in OPEN else a.at + KEPT,
)


def remember(event: ActionChanged, ctx: Context) -> None:
    """Keep the action's newest change; late and repeated ones change nothing."""
    known = ctx.records.get(ACTIONS, event.action_id)
    if known is not None and known.sequence >= event.sequence:
        return
    series = event.series
    view = ActionView(
        **event.model_dump(
            include={
                "action_id",
                "incident_id",
                "sequence",
                "state",
                "level",
                "remediation",
                "target",
                "expires",
                "by",
                "reason",
                "undo",
                "at",
            }
        ),
        host=series.host,
        item=series.item,
        labels=labels_of(series),
        steps=event.steps[:_MAX_STEPS],
        total_steps=max(event.total_steps, len(event.steps)),
    )
    ctx.records.put(ACTIONS, view)
