"""Combination: at each step the median of several forecasters. Rarely best, hardly ever bad.

Of three that err in different ways, the median follows no single one astray; combinations of this
kind took the front places of M4.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from services.predictor.forecasters.base import (
    CannotForecast,
    Floats,
    Forecast,
    Forecaster,
    forecaster,
    make,
    registered,
)


def median_of(members: list[Floats]) -> Floats:
    """At each place the median of the members that spoke; NaN where none did."""
    table = np.array(members)
    missing = np.isnan(table)
    if not missing.any():
        return np.asarray(np.median(table, axis=0))
    silent = missing.all(axis=0)
    table[:, silent] = 0.0
    return np.where(silent, np.nan, np.nanmedian(table, axis=0))


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

    def _forecast(
        self, values: Floats, horizon: int, season: int
    ) -> list[Forecast | CannotForecast]:
        able = [one for one in self.parts() if one.least_points(season) <= values.shape[1]]
        # Of all series at once: (members, series, 3, horizon).
        curves = np.array([one.curves(values, horizon, season) for one in able])
        return [self._of(curves[:, row], able) for row in range(len(values))]

    @staticmethod
    def _of(curves: Floats, able: list[Forecaster]) -> Forecast | CannotForecast:
        spoke = np.isfinite(curves).all(axis=(1, 2))
        if not spoke.any():
            return CannotForecast("none of its members can forecast it")
        mean, lower, upper = np.median(curves[spoke], axis=0)
        why = {"members": ", ".join(able[at].NAME for at in np.flatnonzero(spoke))}
        return Forecast(mean, np.minimum(lower, mean), np.maximum(upper, mean), why)
