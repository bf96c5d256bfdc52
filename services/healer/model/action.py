"""The healer's records of acting: actions, leases, the kill switch, machines, outcomes."""

from __future__ import annotations

from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.transitions import STATES, checked
from services.healer.remediations.kill_switch import Switch
from shared.changes import changed
from shared.contracts.alerts import EventId, SeriesRef
from shared.contracts.healing import ActionState, Level
from shared.contracts.remediation import RemediationExecute, RemediationExecuted, RemediationStep
from shared.store import Collection, Records

OPEN_ACTIONS = (
    ActionState.PROPOSED,
    ActionState.RUNNING,
    ActionState.VERIFYING,
    ActionState.UNDOING,
)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Action(_Record):
    """An action about one incident: planned, under way or done."""

    action_id: EventId
    incident_id: EventId
    series: SeriesRef
    remediation: str
    level: Level
    target: str
    state: ActionState = ActionState.PROPOSED
    sequence: int = 0
    """Changes published."""
    planned: bool = False
    """True if its plan has arrived."""
    steps: tuple[RemediationStep, ...] = ()
    total_steps: int = 0
    command_id: str = ""
    """The awaited command; after execution, the executed one."""
    fence: int = 0
    expires: AwareDatetime | None = None
    by: str = ""
    reason: str = ""
    due: AwareDatetime | None = None

    def becomes(self, state: ActionState, reason: str, due: datetime | None) -> Action:
        """Enter a state that the table allows, and count one more published change."""
        after = checked(STATES, self.action_id, self.state, state)
        return self._with(state=after, sequence=self.sequence + 1, reason=reason, due=due)

    def decided_by(self, person: str) -> Action:
        """Record the person who approves or refuses it."""
        return self._with(by=person)

    def asking(self, command_id: str, expires: datetime) -> Action:
        """Record that its plan was requested; it can be decided until it expires."""
        return self._with(command_id=command_id, expires=expires, due=expires)

    def planned_as(self, message: RemediationExecuted) -> Action:
        """Record that its plan arrived."""
        planned = message.succeeded and bool(message.steps)
        return self._with(planned=planned, steps=message.steps, total_steps=message.total_steps)

    def ordered(self, command_id: str, fence: int | None = None) -> Action:
        """Record the command to execute or undo it, under its lease's fence."""
        if fence is None:
            return self._with(command_id=command_id)
        return self._with(command_id=command_id, fence=fence, due=None)

    def done_as(self, message: RemediationExecuted) -> Action:
        """Record the executed or planned steps."""
        return self._with(steps=message.steps, total_steps=message.total_steps)

    def _with(self, **changes: object) -> Action:
        """Change fields by name; only the typed methods above call this."""
        return changed(self, **changes)


class Lease(_Record):
    """The right to act on a target until a given time; each lease has a higher fence."""

    target: str
    action_id: str
    host: str
    group: str = ""
    fence: int
    until: AwareDatetime

    @property
    def held(self) -> bool:
        return bool(self.action_id)

    def freed(self) -> Lease:
        """The lease held by no action; its fence is kept, so that late orders are recognised."""
        return changed(self, action_id="")


class Machine(_Record):
    """A known machine."""

    host: str
    seen: AwareDatetime


class Outcome(_Record):
    """The outcome of an action, for the ledger and later decisions."""

    action_id: str
    incident_id: str
    series: SeriesRef
    remediation: str
    effective: bool
    saved: bool
    """True if it averted a predicted alarm."""
    at: AwareDatetime


class ClusterOrder(_Record):
    """A remediation through the Kubernetes API, which the healer carries out itself."""

    command_id: str
    order: RemediationExecute
    status: Literal["pending", "answered"] = "pending"
    attempts: int = 0
    claimed_by: str = ""
    claimed_until: AwareDatetime | None = None
    due: AwareDatetime | None = None


_COUNTED_FOR = timedelta(days=400)
"""The ledger counts outcomes for a little more than a year."""
ACTIONS = Collection(
    "actions",
    Action,
    key=lambda a: a.action_id,
    group=lambda a: a.incident_id,
    status=lambda a: a.state,
    due=lambda a: a.due,
)
LEASES = Collection(
    "leases",
    Lease,
    key=lambda lease: lease.target,
    group=lambda lease: lease.group or None,
    status=lambda lease: "held" if lease.held else "free",
)
SWITCHES = Collection("switches", Switch, key=lambda s: s.hosts)
MACHINES = Collection("machines", Machine, key=lambda m: m.host, due=lambda m: m.seen)
OUTCOMES = Collection(
    "outcomes",
    Outcome,
    key=lambda o: o.action_id,
    status=lambda o: "saved" if o.saved else "repaired" if o.effective else "failed",
    due=lambda o: o.at + _COUNTED_FOR,
)
CLUSTER_ORDERS = Collection(
    "cluster-orders",
    ClusterOrder,
    key=lambda o: o.command_id,
    status=lambda o: o.status,
    due=lambda o: o.due,
)


def stopped(records: Records, host: str) -> str:
    """Return who stopped healing on this machine, and why; empty if nobody did."""
    for switch in records.find(SWITCHES):
        if fnmatchcase(host, switch.hosts):
            return switch.by + (f" ({switch.reason})" if switch.reason else "")
    return ""
