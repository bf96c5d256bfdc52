"""Messages about actions: approvals, acknowledgements, the kill switch, people's judgements.

An *action* is one remediation for one alert. It is planned, proposed or begun, and verified; in
between it may be approved, refused, stopped, or expire. ``action.changed`` publishes its states.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, AwareDatetime, Field

from shared import machine
from shared.contracts.alerts import Direction, EventId, SeriesRef
from shared.contracts.message import Identifier, Message
from shared.contracts.remediation import RemediationStep

Reason = Annotated[str, Field(max_length=500, description="The reason, in words for people.")]
Person = Annotated[
    str,
    Field(min_length=1, max_length=200, description="The person, as named in the audit log."),
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
    """The level of autonomy."""

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
    """The states of an action; the last six are final."""

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
    """A person approves or refuses a proposed action. The first decision counts."""

    TYPE: ClassVar[str] = "action.decide"
    SUBJECT: ClassVar[str] = "action_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("action_id", "approve", "by")

    action_id: EventId
    approve: bool
    by: Person
    reason: Reason = ""


class IncidentAcknowledge(Message):
    """A person acknowledges an alert: nobody else is notified. The first acknowledgement counts."""

    TYPE: ClassVar[str] = "incident.acknowledge"
    SUBJECT: ClassVar[str] = "alert_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("alert_id", "by")

    alert_id: EventId = Field(description="The incident, as alert.changed names it.")
    by: Person


class _Switch(Message):
    """A use of the kill switch."""

    SUBJECT: ClassVar[str] = "hosts"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("switch_id",)

    switch_id: EventId = Field(description="New for every use; repeating a message is harmless.")
    hosts: HostPattern = "*"
    by: Person
    reason: Reason = ""
    at: AwareDatetime


class HealingStop(_Switch):
    """The kill switch: no remediation starts, and one in progress ends before its next step."""

    TYPE: ClassVar[str] = "healing.stop"


class HealingResume(_Switch):
    """Revokes every ``healing.stop`` with this pattern of machines."""

    TYPE: ClassVar[str] = "healing.resume"


class HealingSwitched(Message):
    """The current state of the kill switch."""

    TYPE: ClassVar[str] = "healing.switched"
    SUBJECT: ClassVar[str] = "hosts"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("switch_id",)

    switch_id: EventId = Field(description="The id of the message that changed it.")
    hosts: HostPattern
    stopped: bool
    by: Person
    reason: Reason = ""
    at: AwareDatetime


class ActionChanged(Message):
    """An action's state changed."""

    TYPE: ClassVar[str] = "action.changed"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("action_id", "sequence")

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
    reason: str = Field(default="", description="The reason for this state, in words.")
    undo: bool = Field(default=False, description="True: it is undone if it does not help.")
    at: AwareDatetime


class AnomalyJudge(Message):
    """A person judges whether an alarm was real: a label from which thresholds are learned."""

    TYPE: ClassVar[str] = "anomaly.judge"
    SUBJECT: ClassVar[str] = "alert_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("alert_id", "anomaly", "by", "at")

    alert_id: EventId = Field(description="The incident, as alert.changed names it.")
    anomaly: bool = Field(description="False: this was not an anomaly.")
    by: Person
    reason: Reason = ""
    at: AwareDatetime


class AnomalyJudged(Message):
    """A label on an episode of a series, for the detector that raised it and for the pages."""

    TYPE: ClassVar[str] = "anomaly.judged"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("label_id",)

    label_id: EventId
    series: SeriesRef
    direction: Direction = Field(description="The shape that was judged: a spike or a drop.")
    anomaly: bool = Field(description="False: values like this are normal here.")
    value: float = Field(description="The value that raised the alarm.")
    alert_id: EventId | None = Field(default=None, description="The incident that was judged.")
    by: Person
    reason: Reason = ""
    at: AwareDatetime
