"""How correlation rules are looked for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Correlation(BaseModel):
    """How rules are looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(
        default=600,
        gt=0,
        description="Alarms that begin in the same window of this length came together.",
    )
    days: float = Field(
        default=28, gt=0, description="Rules are looked for in the alarms of so many past days."
    )
    min_support: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="A rule's alarms come in at least this share of all windows with alarms.",
    )
    min_confidence: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Where alarm A comes, B comes with it in at least this share of the windows.",
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
        description="A rule needs so many times that its alarms A and B came together.",
    )
    drift_days: float = Field(
        default=7,
        gt=0,
        description="Whether a rule still holds is judged by the alarms of so many past days.",
    )
    drift_causes: int = Field(
        default=10,
        ge=1,
        description="Alarm A must have come so often before it is judged whether its rule still "
        "holds.",
    )
