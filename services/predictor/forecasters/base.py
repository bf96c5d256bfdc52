"""Forecasters: settings as fields, one method from histories to forecasts.

A new forecaster is one file, here or in a package of one's own: a frozen class with ``NAME``,
``least_points`` and ``_forecast``, decorated with ``@forecaster``. The suite
``tests/conformance/test_forecasters.py`` runs on every registered one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from shared.registry import Registry

Floats = NDArray[np.float64]

_FLAT = 1e-9
NORMAL_95 = 1.959963984540054
"""Half width of a 95 % interval in standard deviations."""


@dataclass(frozen=True)
class Forecast:
    """``horizon`` steps ahead of one series, in the item's unit."""

    mean: Floats
    lower: Floats
    upper: Floats
    why: dict[str, str] = field(default_factory=dict)
    """The decisions on the way (order, criterion, p-values), for people."""


@dataclass(frozen=True)
class CannotForecast:
    """The forecaster says nothing of this series, and why."""

    reason: str


class Forecaster(BaseModel, ABC):
    """Base of all forecasters; an instance holds settings only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    NAME: ClassVar[str]

    max_gap_share: float = Field(
        0.3, ge=0, lt=1, description="Largest share of missing steps that is filled linearly."
    )

    @abstractmethod
    def least_points(self, season: int) -> int:
        """Steps of history needed when a season has ``season`` steps."""

    @abstractmethod
    def _forecast(
        self, values: Floats, horizon: int, season: int
    ) -> Sequence[Forecast | CannotForecast]:
        """One answer a row of ``values`` (series, points), which is finite and long enough."""

    def means(self, values: Floats, horizon: int, season: int) -> Floats:
        """(series, horizon): the means alone, for backtests, of a table as ``_forecast`` has it.

        NaN where it cannot forecast a row.
        """
        return self.curves(values, horizon, season)[:, 0]

    def curves(self, values: Floats, horizon: int, season: int) -> Floats:
        """(series, 3, horizon): means, lower and upper bounds alone, NaN as in ``means``."""
        found = np.full((len(values), 3, horizon), np.nan)
        for row, one in enumerate(self._forecast(values, horizon, season)):
            if isinstance(one, Forecast):
                found[row] = one.mean, one.lower, one.upper
        return found

    def forecast(
        self, histories: Sequence[Floats], horizon: int, season: int
    ) -> list[Forecast | CannotForecast]:
        """One answer a history (oldest first, NaN where nothing was measured)."""
        found: list[Forecast | CannotForecast] = [CannotForecast("")] * len(histories)
        by_length: dict[int, list[tuple[int, Floats]]] = {}
        for at, history in enumerate(histories):
            values = filled(history, self.max_gap_share)
            if isinstance(values, CannotForecast):
                found[at] = values
            elif len(values) < self.least_points(season):
                found[at] = CannotForecast(
                    f"{len(values)} points of history, {self.NAME} needs "
                    f"{self.least_points(season)}"
                )
            else:
                by_length.setdefault(len(values), []).append((at, values))
        for group in by_length.values():
            made = self._forecast(np.array([values for _, values in group]), horizon, season)
            for (at, _), one in zip(group, made, strict=True):
                found[at] = one
        return found


def filled(history: Floats, max_gap_share: float) -> Floats | CannotForecast:
    """History from its first value on, gaps filled linearly; refused if too much is missing."""
    finite = np.isfinite(history)
    if len(history) and finite.all():
        return history.astype(np.float64)
    known = np.flatnonzero(finite)
    if not len(known):
        return CannotForecast("no value in the history")
    values = history[known[0] :].astype(np.float64)
    missing = ~np.isfinite(values)
    share = float(missing.mean())
    if share > max_gap_share:
        return CannotForecast(
            f"{share:.0%} of the history is missing, more than {max_gap_share:.0%}"
        )
    if share:
        steps = np.arange(len(values))
        values[missing] = np.interp(steps[missing], steps[~missing], values[~missing])
    return values


def around(mean: Floats, deviation: Floats, **why: str) -> Forecast:
    """A forecast with the 95 % interval of normal errors of standard ``deviation``."""
    return Forecast(mean, mean - NORMAL_95 * deviation, mean + NORMAL_95 * deviation, why)


def curves_around(mean: Floats, deviation: Floats) -> Floats:
    """``around`` for a table (series, horizon), as ``Forecaster.curves`` has it."""
    half = NORMAL_95 * deviation
    return np.stack([mean, mean - half, mean + half], axis=1)


def constant(values: Floats) -> NDArray[np.bool_]:
    """Whether a series, or each row of a table, has one value throughout."""
    largest = np.maximum(1.0, np.abs(values).max(axis=-1))
    return np.asarray(np.ptp(values, axis=-1) <= _FLAT * largest)


def constant_or(values: Floats, found: Forecast) -> Forecast:
    """``found``, or of a constant series itself, exactly."""
    if not constant(values):
        return found
    return around(np.full(len(found.mean), values[-1]), np.zeros(len(found.mean)), model="constant")


_F = TypeVar("_F", bound=type[Forecaster])
REGISTRY: Registry[type[Forecaster]] = Registry(
    "forecaster", "services.predictor.forecasters", "barograph.forecasters"
)


def forecaster(cls: _F) -> _F:
    """Register a forecaster under its ``NAME``; two of one name are an error."""
    REGISTRY.add(cls.NAME, cls)
    return cls


def registered() -> dict[str, type[Forecaster]]:
    """Every forecaster class by name, in alphabetical order."""
    return REGISTRY.all()


def make(name: str, settings: dict[str, Any] | None = None) -> Forecaster:
    """The forecaster ``name`` with ``settings``.

    Raises KeyError naming what is registered, pydantic's ValidationError for bad settings.
    """
    return REGISTRY.get(name)(**(settings or {}))
