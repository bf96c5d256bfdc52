"""How correlation rules are looked for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Correlation(BaseModel):
    """How rules are looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_s: float = Field(default=600, gt=0, description="What counts as together.")
    days: float = Field(default=28, gt=0, description="Of which past rules are mined.")
    min_support: float = Field(default=0.2, gt=0, le=1)
    min_confidence: float = Field(default=0.5, gt=0, le=1)
    min_lift: float = Field(
        default=1.0, ge=0, description="At or below 1, A says nothing about B; not proposed."
    )
    min_count: int = Field(default=10, ge=1, description="Times A and B came together.")
    drift_days: float = Field(default=7, gt=0, description="Of which past drift is judged.")
    drift_causes: int = Field(
        default=10, ge=1, description="Times A must have come for drift to be judged."
    )
