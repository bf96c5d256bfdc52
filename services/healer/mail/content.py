"""Everything one mail about an alarm says, before it has any form."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.contracts.alerts import BandPoint, EvidenceRow, Point, SeriesRef, Severity


class Notice(BaseModel):
    """One notice to people; stored until it is sent."""

    model_config = ConfigDict(frozen=True)

    message_id: str = Field(description="Deterministic, without <>; makes a repetition known.")
    thread_id: str = Field(default="", description="The first mail's id; '' for the first itself.")
    kind: Literal["predicted", "firing", "handled", "escalated", "resolved"]
    severity: Severity
    series: SeriesRef
    family: str
    value: float
    unit: str
    threshold: float | None = None
    above: bool = Field(default=True, description="On which side of the threshold the alarm is.")
    sentence: str = Field(description="Why.")
    crossing_ms: int | None = None
    earliest_ms: int | None = None
    latest_ms: int | None = None
    predicted_value: float | None = None
    recent: tuple[Point, ...] = ()
    band: tuple[BandPoint, ...] = Field(
        default=(), description="Normal range at the times of ``recent``, or forecast after them."
    )
    evidence_title: str = ""
    evidence: tuple[EvidenceRow, ...] = ()
    evidence_note: str = Field(default="", description="What must be said of the evidence.")
    actions: tuple[str, ...] = Field(default=(), description="What was done, in sentences.")
    suggested_command: str = Field(default="", description="Shell command, already quoted.")
    at: AwareDatetime
