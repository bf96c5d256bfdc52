"""Combination: at each step the median of several forecasters. Rarely best, hardly ever bad.

Of three that err in different ways, the median follows no single one astray; combinations of this
kind took the front places of M4.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from services.predictor.forecasters.base import (
    Floats,
    Forecast,
    Forecaster,
    forecaster,
    make,
    registered,
)


@forecaster
class Combination(Forecaster):
    """Median of the members that can speak, of their bounds too."""

    NAME: ClassVar[str] = "combination"

    members: tuple[str, ...] = Field(
        ("arima", "theta", "seasonal_naive"), min_length=1, description="Forecasters, by name."
    )

    @field_validator("members")
    @classmethod
    def _others(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        faults = [name for name in value if name == cls.NAME or name not in registered()]
        if faults:
            raise ValueError(f"cannot be members: {', '.join(faults)}")
        return value

    def least_points(self, season: int) -> int:
        """As many as the least demanding member needs."""
        return min(one.least_points(season) for one in self.parts())

    def parts(self) -> list[Forecaster]:
        """The members."""
        return [make(name) for name in self.members]

    def _forecast(self, values: Floats, horizon: int, season: int) -> list[Forecast]:
        able = [one for one in self.parts() if one.least_points(season) <= values.shape[1]]
        # Of all series at once: (series, 3, horizon).
        medians = np.median([one.curves(values, horizon, season) for one in able], axis=0)
        why = {"members": ", ".join(one.NAME for one in able)}
        return [
            Forecast(mean, np.minimum(lower, mean), np.maximum(upper, mean), why)
            for mean, lower, upper in medians
        ]
