"""The message about the health of machines and of groups of machines."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field

from shared import machine
from shared.contracts.message import Message, Part

HEALTHY, WATCH = 80.0, 50.0
"""The lowest scores of a healthy machine and of one to be watched; below them it is sick."""


class HealthTerm(Part):
    """One term of a health score: how many points it costs, and why."""

    name: str = Field(description="The name of the part, e.g. cpu, disk used, open alarms.")
    value: float | None = Field(default=None, description="The item's value; None: no item.")
    lost: float = Field(ge=0, description="Points taken from 100.")
    sentence: str
    series: str = Field(default="", description="The series that decides, in canonical text.")


class HealthReported(Message):
    """The health of a machine or of a group of machines, 0 to 100, with every term."""

    TYPE: ClassVar[str] = "health.reported"
    SUBJECT: ClassVar[str] = "name"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("scope", "name", "at")

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
    hosts: str = Field(default="", max_length=253, description="The pattern of a group's machines.")
    at: AwareDatetime
