"""How detectors keep their history: the points of some hours, or a number of points in order."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field

from services.detector.detectors import tail
from services.detector.detectors.base import Detector, Tick
from services.detector.hourly import Hours
from shared.columns import Column, Columns, indices


class OfHours(Detector):
    """Base of detectors that look at the points of the last hours."""

    hours: int = Field(24, ge=2, le=336, description="Hours of history.")

    @cached_property
    def _hours(self) -> Hours:
        return Hours(self.hours)

    def columns(self) -> list[Column]:
        """The window's hours."""
        return self._hours.columns()

    def learn(self, state: Columns, tick: Tick) -> None:
        """Add the points to the window."""
        self._hours.add(state, tick.rows, tick.time_ms, tick.values)


class TailOfHours(OfHours):
    """Base of detectors that judge the newest three points by the last hours."""

    def columns(self) -> list[Column]:
        """The window's hours and the last points."""
        return [*super().columns(), *tail.COLUMNS]

    def learn(self, state: Columns, tick: Tick) -> None:
        """Add the points to the window."""
        super().learn(state, tick)
        tail.keep(state, tick)


class OfPoints(Detector):
    """Base of detectors that ask the order of the newest points."""

    window: int = Field(1440, ge=3, le=100_000, description="Newest points in the window.")

    def columns(self) -> list[Column]:
        """The window in order of time and of value."""
        return [
            Column("ring", np.float32, np.nan, (self.window,)),
            Column("ordered", np.float32, np.nan, (self.window,)),
            Column("seen", np.int64),
        ]

    def learn(self, state: Columns, tick: Tick) -> None:
        """Add the points to the window."""
        from services.detector import order  # noqa: PLC0415 - compiles

        order.add_all(
            state["ring"], state["ordered"], state["seen"], indices(tick.rows), tick.values
        )
