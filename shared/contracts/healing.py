"""Messages of people and machines about handling: approval, kill switch, rules, labels, health.

What is done about an alarm is an *action*: planned, proposed or begun, verified, and in between
approved, refused, expired or stopped. Its states are published as ``action.changed``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from shared import machine
from shared.contracts.alerts import Direction, EventId, SeriesRef
from shared.contracts.message import Identifier, Message, Part
from shared.contracts.metrics import ItemName
from shared.contracts.remediation import RemediationStep

Reason = Annotated[str, Field(max_length=500, description="Why, in words for people.")]
Person = Annotated[
    str,
    Field(min_length=1, max_length=200, description="The person who says so, as audits name them."),
]
HostPattern = Annotated[
    str,
    Field(
        min_length=1, max_length=253, description="The machines, as a shell pattern of their names."
    ),
    # A machine has one name: a pattern that is written otherwise would fit none.
    AfterValidator(machine.machine_pattern),
]


class Level(StrEnum):
    """How far handling goes without a person."""

    OBSERVE = "observe"
    """Publish the alert's states, nothing else."""
    SUGGEST = "suggest"
    """Collect the evidence and mail a person, with the exact command."""
    APPROVE = "approve"
    """The same, and carry out the plan once a person has approved it."""
    AUTOMATIC = "automatic"
    """Carry out the plan, verify it, and mail what was done."""

    @classmethod
    def _missing_(cls, value: object) -> Level | None:
        # The name that suggest had in policies before there was approve.
        return cls.SUGGEST if value == "mail" else None


class ActionState(StrEnum):
    """Where an action stands; the last six are ends."""

    PROPOSED = "proposed"
    RUNNING = "running"
    VERIFYING = "verifying"
    UNDOING = "undoing"
    VERIFIED = "verified"
    FAILED = "failed"
    UNDONE = "undone"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class ActionDecide(Message):
    """A person approves or refuses a proposed action. The first decision holds."""

    TYPE: ClassVar[str] = "action.decide"

    action_id: EventId
    approve: bool
    by: Person
    reason: Reason = ""

    def subject(self) -> str:
        return self.action_id

    def dedupe_key(self) -> str:
        return f"{self.action_id}/{self.approve}/{self.by}"


class IncidentAcknowledge(Message):
    """A person takes care of an alert: nobody else is called. The first one holds."""

    TYPE: ClassVar[str] = "incident.acknowledge"

    alert_id: EventId = Field(description="The incident, as alert.changed names it.")
    by: Person

    def subject(self) -> str:
        return self.alert_id

    def dedupe_key(self) -> str:
        return f"{self.alert_id}/{self.by}"


class _Switch(Message):
    """A use of the kill switch."""

    switch_id: EventId = Field(description="New for every use; repeating a message is harmless.")
    hosts: HostPattern = "*"
    by: Person
    reason: Reason = ""
    at: AwareDatetime

    def subject(self) -> str:
        return self.hosts

    def dedupe_key(self) -> str:
        return self.switch_id


class HealingStop(_Switch):
    """The kill switch: no remediation begins, and one under way ends before its next step."""

    TYPE: ClassVar[str] = "healing.stop"


class HealingResume(_Switch):
    """Take back every ``healing.stop`` with this pattern of machines."""

    TYPE: ClassVar[str] = "healing.resume"


class HealingSwitched(Message):
    """The kill switch as it stands now."""

    TYPE: ClassVar[str] = "healing.switched"

    switch_id: EventId = Field(description="The id of the message that changed it.")
    hosts: HostPattern
    stopped: bool
    by: Person
    reason: Reason = ""
    at: AwareDatetime

    def subject(self) -> str:
        return self.hosts

    def dedupe_key(self) -> str:
        return self.switch_id


class ActionChanged(Message):
    """An action's state changed."""

    TYPE: ClassVar[str] = "action.changed"

    action_id: EventId
    incident_id: EventId
    sequence: int = Field(ge=1, description="Order of this action's changes.")
    state: ActionState
    level: Level
    remediation: Identifier
    series: SeriesRef
    target: str = Field(description="The target: the machine, or namespace/kind/name.")
    steps: tuple[RemediationStep, ...] = Field(
        default=(), max_length=1000, description="The plan; after execution, what was done."
    )
    total_steps: int = Field(default=0, ge=0, description="May exceed the steps listed.")
    expires: AwareDatetime | None = Field(default=None, description="Until when to decide.")
    by: str = Field(default="", description="The person who approved or refused it.")
    reason: str = Field(default="", description="Why it came to this state, in words.")
    at: AwareDatetime

    def subject(self) -> str:
        return self.series.text()

    def dedupe_key(self) -> str:
        return f"{self.action_id}/{self.sequence}"


class AnomalyJudge(Message):
    """A person says whether an alarm was one: the label that thresholds are trained with."""

    TYPE: ClassVar[str] = "anomaly.judge"

    alert_id: EventId = Field(description="The incident, as alert.changed names it.")
    anomaly: bool = Field(description="False: this was not an anomaly.")
    by: Person
    reason: Reason = ""
    at: AwareDatetime

    def subject(self) -> str:
        return self.alert_id

    def dedupe_key(self) -> str:
        return f"{self.alert_id}/{self.anomaly}/{self.by}"


class AnomalyJudged(Message):
    """A label on an episode of a series, for the detector that raised it."""

    TYPE: ClassVar[str] = "anomaly.judged"

    label_id: EventId
    series: SeriesRef
    direction: Direction = Field(description="The shape that was judged: a spike or a drop.")
    anomaly: bool = Field(description="False: values like this are normal here.")
    value: float = Field(description="The value that raised the alarm.")
    by: Person
    at: AwareDatetime

    def subject(self) -> str:
        return self.series.text()

    def dedupe_key(self) -> str:
        return self.label_id


class RuleState(StrEnum):
    """A correlation rule's life."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETIRED = "retired"


class RuleDecide(Message):
    """A person accepts or rejects a proposed correlation rule, or retires an accepted one."""

    TYPE: ClassVar[str] = "correlation.decide"

    rule_id: EventId
    accept: bool
    by: Person
    reason: Reason = ""
    at: AwareDatetime

    def subject(self) -> str:
        return self.rule_id

    def dedupe_key(self) -> str:
        return f"{self.rule_id}/{self.accept}/{self.at.isoformat()}"


class CorrelationChanged(Message):
    """A rule "when A alarms, B alarms in the same window": found, decided on, or out of date.

    While accepted, an alarm of B with A open is attached to A's and has no notice of its own.
    """

    TYPE: ClassVar[str] = "correlation.changed"

    rule_id: EventId = Field(description="Deterministic: scope, A and B.")
    sequence: int = Field(ge=1)
    state: RuleState
    scope: str = Field(description="'machine', or the name of a group of machines.")
    cause: ItemName = Field(description="A.")
    effect: ItemName = Field(description="B.")
    support: float = Field(ge=0, le=1, description="Share of transactions with A and B.")
    confidence: float = Field(ge=0, le=1, description="The share of those with A that have B.")
    lift: float = Field(ge=0, description="Confidence over the share of all that have B.")
    lag_s: float = Field(description="Median of B's time minus A's, seconds.")
    count: int = Field(ge=0, description="Transactions with A and B.")
    transactions: int = Field(ge=0, description="All transactions looked at.")
    by: str = ""
    reason: str = ""
    at: AwareDatetime

    def subject(self) -> str:
        return f"{self.cause} -> {self.effect}"

    def dedupe_key(self) -> str:
        return f"{self.rule_id}/{self.sequence}"


class HealthTerm(Part):
    """One summand of a health: how many points it costs, and why."""

    name: str = Field(description="The name of the part, e.g. cpu, disk used, open alarms.")
    value: float | None = Field(default=None, description="The item's value; None: no item.")
    lost: float = Field(ge=0, description="Points taken from 100.")
    sentence: str
    series: str = Field(default="", description="The series that decides, in canonical text.")


class HealthReported(Message):
    """The health of a machine or of a group of machines, 0 to 100, with every term."""

    TYPE: ClassVar[str] = "health.reported"

    scope: Literal["machine", "group"] = "machine"
    name: str = Field(
        min_length=1,
        max_length=machine.MAX_LENGTH,
        pattern=machine.PATTERN,
        description="The machine, or the group.",
    )
    score: float = Field(ge=0, le=100)
    verdict: Literal["healthy", "watch", "sick", "unknown"]
    terms: tuple[HealthTerm, ...] = Field(max_length=100, description="Most costly first.")
    trend: float | None = Field(default=None, description="Points a day, over the last day.")
    first: str = Field(default="", description="The thing to fix first, in one sentence.")
    usage: Literal["idle", "normal", "overloaded", "unknown"] = "unknown"
    advice: str = Field(default="", description="The conclusion from the usage, in one sentence.")
    reclaimable_cpu_percent: float = Field(
        default=0, ge=0, le=100, description="Percent of its CPU beyond a day's peak and a quarter."
    )
    reclaimable_memory_percent: float = Field(default=0, ge=0, le=100, description="Likewise.")
    machines: int = Field(default=1, ge=0, description="In a group.")
    at: AwareDatetime

    def subject(self) -> str:
        return self.name

    def dedupe_key(self) -> str:
        return f"{self.scope}/{self.name}/{self.at.isoformat()}"
