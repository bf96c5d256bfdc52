"""The base of detectors: settings as fields, state as columns; a step judges a point per series.

A new detector is one file, here or in a package of one's own: a frozen class with ``NAME``,
``columns``, ``judge``, ``learn`` and ``explain``, decorated with ``@detector``. The suite
``tests/conformance/test_detectors.py`` runs on every registered one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from shared.columns import Array, Column, Columns, Rows, indices
from shared.contracts.alerts import AnomalyKind
from shared.registry import Registry

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Tick:
    """One point of each of n distinct series."""

    rows: Rows
    """Rows of the state, n of them."""
    time_ms: NDArray[np.int64]
    values: Floats
    """NaN: there is no value, the point cannot be judged and is not learned."""
    missing: NDArray[np.int32]
    """Steps without a point since the series' last one."""
    broken: Bools
    """True if so much is missing (or nothing came before) that recent history says nothing."""
    limit: Floats
    """The item's static alarm threshold; NaN: none."""
    above: Bools
    """True if the alarm lies above ``limit`` (else below)."""
    local_ms: NDArray[np.int64]
    """The local time of the series, in milliseconds since 1970."""
    holiday: Bools
    """True if it is one there: the time of day and week say nothing, and are not learned."""
    floor: Floats
    """Least distance from what is usual that counts, in the item's unit; 0: any."""
    budget: Floats
    """False alarms a week allowed; NaN: as the detector's settings say."""

    def __len__(self) -> int:
        return len(self.values)

    def select(self, mask: Bools) -> Tick:
        """The points where ``mask`` holds."""
        return Tick(
            indices(self.rows)[mask],
            self.time_ms[mask],
            self.values[mask],
            self.missing[mask],
            self.broken[mask],
            self.limit[mask],
            self.above[mask],
            self.local_ms[mask],
            self.holiday[mask],
            self.floor[mask],
            self.budget[mask],
        )


@dataclass(frozen=True)
class Votes:
    """One detector's verdicts on a tick's n points."""

    judged: Bools
    """False: too little history (or no value) to say anything."""
    anomalous: Bools
    direction: NDArray[np.int8]
    """1 spike, -1 drop, 0 none."""
    numbers: dict[str, Array]
    """The numbers that were compared, by name; each of length n."""
    coarse: Bools | None = None
    """Marks points judged with less history than the detector wants; None: no point."""

    def spread(self, mask: Bools) -> Votes:
        """These votes at the true places of ``mask``, "cannot judge" elsewhere."""
        n = len(mask)

        def place(array: Array, fill: float) -> Array:
            full = np.full(n, fill, dtype=array.dtype)
            full[mask] = array
            return full

        return Votes(
            place(self.judged, False),
            place(self.anomalous, False),
            place(self.direction, 0),
            {name: place(array.astype(np.float64), np.nan) for name, array in self.numbers.items()},
            None if self.coarse is None else place(self.coarse, False),
        )


class Detector(BaseModel, ABC):
    """Base of all detectors; an instance holds settings only, state lives in ``Columns``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    NAME: ClassVar[str]

    @abstractmethod
    def columns(self) -> list[Column]:
        """The state one series needs."""

    @abstractmethod
    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Vote on every point from history alone; the points themselves are not yet part of it.

        ``tick`` holds no NaN. May refresh caches in ``state``, but judging again says the same.
        """

    @abstractmethod
    def learn(self, state: Columns, tick: Tick) -> None:
        """Make the points history. ``tick`` holds no NaN."""

    @abstractmethod
    def explain(self, numbers: dict[str, float]) -> str:
        """One sentence for people from a vote's numbers."""

    def kind(self, numbers: dict[str, float], direction: int) -> AnomalyKind:
        """The shape of an anomaly, for detectors that distinguish shapes."""
        return AnomalyKind.OTHER

    def usual(self, state: Columns, row: int, local_ms: NDArray[np.int64]) -> Floats | None:
        """Mean, lower and upper bound of what is usual at these times, (n, 3); NaN: not known.

        None for a detector that keeps no such range.
        """
        return None

    def step(self, state: Columns, tick: Tick) -> Votes:
        """Judge, then learn; points without a value are neither judged nor learned."""
        known = ~np.isnan(tick.values)
        if known.all():
            votes = self.judge(state, tick)
            self.learn(state, tick)
            return votes
        rest = tick.select(known)
        votes = self.judge(state, rest)
        self.learn(state, rest)
        return votes.spread(known)


_D = TypeVar("_D", bound=type[Detector])
REGISTRY: Registry[type[Detector]] = Registry(
    "detector", "services.detector.detectors", "barograph.detectors"
)


def detector(cls: _D) -> _D:
    """Register a detector under its ``NAME``; two of one name are an error."""
    REGISTRY.add(cls.NAME, cls)
    return cls


def registered() -> dict[str, type[Detector]]:
    """Every detector class by name, in alphabetical order."""
    return REGISTRY.all()


def make(name: str, settings: dict[str, Any] | None = None) -> Detector:
    """The detector ``name`` with ``settings``.

    Raises KeyError naming what is registered, pydantic's ValidationError for bad settings.
    """
    return REGISTRY.get(name)(**(settings or {}))


def votes(judged: Bools, anomalous: Bools, change: Floats, **numbers: Array) -> Votes:
    """Votes whose direction is the sign of ``change`` wherever a judged point is anomalous."""
    fires = judged & anomalous
    direction = np.where(fires, np.sign(np.nan_to_num(change)), 0).astype(np.int8)
    return Votes(judged, fires, direction, numbers)


def tick_of(
    values: Floats, time_ms: NDArray[np.int64], *, rows: Rows | None = None, **fields: Array
) -> Tick:
    """A tick without gaps and thresholds, in UTC, unless ``fields`` say otherwise."""
    n = len(values)
    tick = Tick(
        slice(0, n) if rows is None else rows,
        time_ms,
        values,
        np.zeros(n, dtype=np.int32),
        np.zeros(n, dtype=np.bool_),
        np.full(n, np.nan),
        np.ones(n, dtype=np.bool_),
        time_ms,
        np.zeros(n, dtype=np.bool_),
        np.zeros(n),
        np.full(n, np.nan),
    )
    return replace(tick, **fields)
