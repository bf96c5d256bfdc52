"""Messages to and from node agents: evidence, remediations, readings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.alerts import EventId, SeriesRef
from shared.contracts.message import HostName, Identifier, Message, Part, routing_word


class EvidenceCollect(Message):
    """Asks an agent for evidence of an alert's cause on its machine, within limits."""

    TYPE: ClassVar[str] = "evidence.collect"
    SUBJECT: ClassVar[str] = "host"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("command_id",)

    command_id: EventId
    host: HostName
    family: str = Field(description="The family to look at: cpu, memory, disk, net, load.")
    path: str = Field(default="", max_length=4096, description="For disk: below which directory.")
    reply_by: AwareDatetime

    def routing_key(self) -> str:
        return f"{self.TYPE}.{routing_word(self.host)}"


class EvidenceRow(Part):
    """One cause: a process, a directory, a connection."""

    columns: dict[str, str]


class EvidenceTable(Part):
    """One look at the machine."""

    title: str
    rows: tuple[EvidenceRow, ...] = Field(default=(), max_length=50)
    truncated: bool = False


class EvidenceCollected(Message):
    """The evidence that was found on the machine; secrets are masked."""

    TYPE: ClassVar[str] = "evidence.collected"
    SUBJECT: ClassVar[str] = "host"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("command_id",)

    command_id: EventId
    host: HostName
    family: str
    title: str = Field(description="The heading, e.g. 'Processes by CPU'.")
    rows: tuple[EvidenceRow, ...] = Field(default=(), max_length=50)
    truncated: bool = Field(default=False, description="True: a bound cut it short.")
    more: tuple[EvidenceTable, ...] = Field(
        default=(), max_length=10, description="Further looks: deleted files, kernel messages ..."
    )
    at: AwareDatetime


class RemediationExecute(Message):
    """Asks an agent to execute a remediation; the same ``command_id`` is executed once."""

    TYPE: ClassVar[str] = "remediation.execute"
    SUBJECT: ClassVar[str] = "host"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("command_id",)

    command_id: EventId
    host: HostName
    incident_id: EventId
    remediation: Identifier = Field(description="Registered name, e.g. clean-logs.")
    series: SeriesRef
    dry_run: bool = Field(
        default=False, description="true: actions are planned and reported, and nothing is changed."
    )
    expires: AwareDatetime = Field(description="Not to be started after this.")
    only: tuple[str, ...] | None = Field(
        default=None,
        max_length=1000,
        description="Identities of the plan's steps that were approved; others are left alone.",
    )
    fence: int = Field(
        default=0, ge=0, description="Grows with every lease of the target; an older one is late."
    )
    undoes: EventId | None = Field(
        default=None, description="Take back what this earlier command did, where possible."
    )

    def routing_key(self) -> str:
        return f"{self.TYPE}.{routing_word(self.host)}"


class RemediationStep(Part):
    """One thing done, or in a dry run to be done."""

    action: str = Field(description="The kind of step, e.g. delete.")
    target: str
    freed_bytes: int = Field(default=0, ge=0)
    error: str = ""
    identity: str = Field(
        default="",
        description="The mark that distinguishes this target from a later one of the same name.",
    )
    diff: str = Field(default="", max_length=500, description="The change, e.g. 3 -> 5.")
    command: str = Field(
        default="",
        max_length=1000,
        description="The command that a person would type to do the same.",
    )


class RemediationExecuted(Message):
    """The outcome of a remediation, step by step, as the agent reports it."""

    TYPE: ClassVar[str] = "remediation.executed"
    SUBJECT: ClassVar[str] = "host"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("command_id",)

    command_id: EventId
    incident_id: EventId
    host: HostName
    remediation: Identifier
    dry_run: bool
    succeeded: bool
    steps: tuple[RemediationStep, ...] = Field(default=(), max_length=1000)
    total_steps: int = Field(ge=0, description="May exceed the steps listed.")
    freed_bytes: int = Field(default=0, ge=0)
    detail: str = Field(default="", description="A remark in words, such as why it failed.")
    audit: str = Field(
        default="",
        max_length=128,
        description="The hash of the last line of the audit where it ran, by which a later "
        "removal of lines is noticed.",
    )
    at: AwareDatetime


class ItemRead(Message):
    """Asks an agent to read an item now."""

    TYPE: ClassVar[str] = "item.read"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("command_id",)

    command_id: EventId
    incident_id: EventId
    series: SeriesRef

    def routing_key(self) -> str:
        return f"{self.TYPE}.{routing_word(self.series.host)}"


class ItemObserved(Message):
    """The item's value as the agent has just read it; null if it cannot be read."""

    TYPE: ClassVar[str] = "item.observed"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("command_id",)

    command_id: EventId
    incident_id: EventId
    series: SeriesRef
    value: float | None
    detail: str = ""
    at: AwareDatetime


class RemediationVerified(Message):
    """The metric was read again after a remediation."""

    TYPE: ClassVar[str] = "remediation.verified"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("command_id",)

    incident_id: EventId
    command_id: EventId
    series: SeriesRef
    remediation: Identifier
    before: float
    after: float
    effective: bool = Field(description="True: the value left the danger zone.")
    saved: bool = Field(default=False, description="True: a predicted alarm never had to fire.")
    at: AwareDatetime
