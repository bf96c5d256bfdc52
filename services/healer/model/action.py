"""The healer's records of acting: actions, leases, the kill switch, machines, outcomes."""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.transitions import STATES, checked
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
    """Whether the dry run has come back."""
    steps: tuple[RemediationStep, ...] = ()
    total_steps: int = 0
    command_id: str = ""
    """The command that is awaited; after execution, the one that was carried out."""
    fence: int = 0
    expires: AwareDatetime | None = None
    by: str = ""
    reason: str = ""
    due: AwareDatetime | None = None

    def becomes(self, state: ActionState, reason: str, due: datetime | None) -> Action:
        """It comes to a state, which the table must allow, as one more published change."""
        after = checked(STATES, self.action_id, self.state, state)
        return self._with(state=after, sequence=self.sequence + 1, reason=reason, due=due)

    def decided_by(self, person: str) -> Action:
        """Who approves or refuses it."""
        return self._with(by=person)

    def asking(self, command_id: str, expires: datetime) -> Action:
        """Its plan was asked for; it can be decided until it expires."""
        return self._with(command_id=command_id, expires=expires, due=expires)

    def planned_as(self, message: RemediationExecuted) -> Action:
        """Its plan came."""
        planned = message.succeeded and bool(message.steps)
        return self._with(planned=planned, steps=message.steps, total_steps=message.total_steps)

    def ordered(self, command_id: str, fence: int | None = None) -> Action:
        """It is to be carried out under a lease's fence, or to be taken back under the same."""
        if fence is None:
            return self._with(command_id=command_id)
        return self._with(command_id=command_id, fence=fence, due=None)

    def done_as(self, message: RemediationExecuted) -> Action:
        """This action with the steps that were done, or would be."""
        return self._with(steps=message.steps, total_steps=message.total_steps)

    def _with(self, **changes: object) -> Action:
        """The only place where fields are named by strings: the methods above have types."""
        return self.model_copy(update=changes)


class Lease(_Record):
    """Who may act on a target, until when. The fence grows with every lease."""

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
        """Held by no action; its fence stays, so that late orders are known as such."""
        return self.model_copy(update={"action_id": ""})


class Switch(_Record):
    """The kill switch for a pattern of machines, thrown."""

    hosts: str
    by: str
    reason: str
    at: AwareDatetime


class Machine(_Record):
    """A machine that was heard of."""

    host: str
    seen: AwareDatetime


class Outcome(_Record):
    """How an action ended: a label for what comes after, and the ledger of saved alarms."""

    action_id: str
    incident_id: str
    series: SeriesRef
    remediation: str
    effective: bool
    saved: bool
    """Whether an alarm that was predicted never fired because of it."""
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
)
CLUSTER_ORDERS = Collection(
    "cluster-orders",
    ClusterOrder,
    key=lambda o: o.command_id,
    status=lambda o: o.status,
    due=lambda o: o.due,
)


def stopped(records: Records, host: str) -> str:
    """Who threw the kill switch for this machine, and why; empty when nobody did."""
    for switch in records.find(SWITCHES):
        if fnmatchcase(host, switch.hosts):
            return switch.by + (f" ({switch.reason})" if switch.reason else "")
    return ""
