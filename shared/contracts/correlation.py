"""Messages about correlation rules: which alarms go together, and what people decided on them."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.alerts import EventId
from shared.contracts.healing import Person, Reason
from shared.contracts.message import Message
from shared.contracts.metrics import ItemName


class RuleState(StrEnum):
    """A correlation rule's life."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETIRED = "retired"


class RuleDecide(Message):
    """A person accepts or rejects a proposed correlation rule, or retires an accepted one."""

    TYPE: ClassVar[str] = "correlation.decide"
    SUBJECT: ClassVar[str] = "rule_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("rule_id", "accept", "at")

    rule_id: EventId
    accept: bool
    by: Person
    reason: Reason = ""
    at: AwareDatetime


class CorrelationChanged(Message):
    """A rule "when A alarms, B alarms in the same window": found, measured anew, or decided on.

    While it is accepted, an alarm of B during one of A is attached to it and not notified itself.
    """

    TYPE: ClassVar[str] = "correlation.changed"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("rule_id", "sequence")

    rule_id: EventId = Field(description="Deterministic: scope, A and B.")
    sequence: int = Field(ge=1, description="Grows with each change; not always by one.")
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
