"""Settings of the search for correlation rules."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Correlation(BaseModel):
    """Settings of the search for rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(
        default=600,
        gt=0,
        description="The length of the windows; alarms that begin in the same window count as "
        "simultaneous.",
    )
    days: float = Field(
        default=28, gt=0, description="The number of past days whose alarms are mined."
    )
    min_support: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="The smallest share of all windows with alarms in which a rule's alarms must "
        "occur.",
    )
    min_confidence: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The smallest share of the windows with alarm A in which B must occur as well.",
    )
    min_lift: float = Field(
        default=1.0,
        ge=0,
        description="Rules with a smaller lift are not proposed; at a lift of 1, alarm A says "
        "nothing about B.",
    )
    min_count: int = Field(
        default=10,
        ge=1,
        description="The smallest number of times that alarms A and B must have occurred together.",
    )
    drift_days: float = Field(
        default=7,
        gt=0,
        description="The number of past days that decide whether a rule still holds.",
    )
    drift_causes: int = Field(
        default=10,
        ge=1,
        description="The number of times that alarm A must have occurred before its rule "
        "is judged again.",
    )
