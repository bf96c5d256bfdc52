"""The base of forecasters: settings as fields, and a method from histories to forecasts.

A new forecaster is one file, here or in a package of one's own: a frozen class with ``NAME``,
``least_points`` and ``_forecast``, decorated with ``@forecaster``. The suite
``tests/conformance/test_forecasters.py`` runs on every registered one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from shared.registry import Registry

Floats = NDArray[np.float64]

_FLAT = 1e-9
_MAX_FLOAT64 = float(np.finfo(np.float64).max)
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
    slopes: dict[str, float] = field(default_factory=dict)
    """Numbers on the way that are in the item's unit a step."""
    steady: Floats | None = None
    """The bounds (2, horizon) without the steps that may come once; None: the same."""

    def deviation(self, *, above: bool) -> Floats:
        """Standard deviations of the way to the side, without the steps that may come once."""
        lower, upper = (self.lower, self.upper) if self.steady is None else self.steady
        # Halved first, as the difference of two numbers may be too large for one.
        half = upper / 2 - self.mean / 2 if above else self.mean / 2 - lower / 2
        return np.asarray(np.maximum(half, 0.0) * (2 / NORMAL_95))

    def minus(self, off: Floats) -> Forecast:
        """The same, ``off`` lower at each step."""
        steady = None if self.steady is None else self.steady - off
        mean, lower, upper = (one - off for one in (self.mean, self.lower, self.upper))
        return replace(self, mean=mean, lower=lower, upper=upper, steady=steady)

    def within(self, least: float | None, most: float | None) -> Forecast:
        """The same where values can be: no share of a disk lies above 100 %."""
        low, high = (-np.inf if least is None else least), (np.inf if most is None else most)
        mean, lower, upper = (
            np.clip(one, low, high) for one in (self.mean, self.lower, self.upper)
        )
        return replace(self, mean=mean, lower=lower, upper=upper)

    def times(self, unit: float) -> Forecast:
        """The same in another unit, with its slopes said."""
        said = {name: f"{slope * unit:.6g} a step" for name, slope in self.slopes.items()}
        mean, lower, upper = scaled(np.array([self.mean, self.lower, self.upper]), unit)
        return Forecast(mean, lower, upper, self.why | said)


@dataclass(frozen=True)
class CannotForecast:
    """The forecaster cannot forecast this series, for the reason given."""

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
        """One answer a history (oldest first, NaN where nothing was measured).

        It does not depend on the unit: models see values whose largest is between 1 and 2.
        """
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
            table = np.array([values for _, values in group])
            units = unit_of(table)
            made = self._forecast(table / units[:, None], horizon, season)
            for (at, _), one, unit in zip(group, made, units, strict=True):
                found[at] = one.times(unit) if isinstance(one, Forecast) else one
        return found


def unit_of(values: Floats) -> Floats:
    """The largest power of two that is no larger than the largest of each row's values; or 1.

    Dividing by it is exact, so that a forecast is the same in any unit, also where squares of the
    values would be too large, or too small, for a number.
    """
    largest = np.abs(np.where(np.isfinite(values), values, 0.0)).max(axis=-1, initial=0.0)
    exponent = np.frexp(largest)[1] - 1
    return np.asarray(np.where(largest > 0, np.ldexp(1.0, exponent), 1.0))


def scaled(values: Floats, unit: float | Floats) -> Floats:
    """``values`` times ``unit``, as far as a number goes."""
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(values * unit, -_MAX_FLOAT64, _MAX_FLOAT64))


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
    """Return whether a series, or each row of a table, has one value throughout."""
    return np.asarray(np.ptp(values, axis=-1) <= _FLAT * np.abs(values).max(axis=-1))


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
