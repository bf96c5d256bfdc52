"""Histories of detectors: points of some hours or days, or a number of points in order."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import Field

from services.detector.daily import DailyTable
from services.detector.detectors import tail
from services.detector.detectors.base import Detector, Floats, Tick, Votes, votes
from services.detector.hourly import Hours, N, Y, deviation
from shared.columns import Column, Columns, indices


class OfHours(Detector):
    """Base of detectors that look at the points of the last hours."""

    hours: int = Field(24, ge=2, le=336, description="The number of hours of history.")

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

    @staticmethod
    def compared(
        state: Columns,
        tick: Tick,
        moments: Floats,
        sigmas: float | Floats,
        min_points: int,
        **numbers: Floats,
    ) -> Votes:
        """Compare the mean of the newest three points with that of a part of the history.

        ``numbers``: further ones for the explanation.
        """
        newest, whole = tail.mean(state, tick)
        mean, limit = moments[:, Y], np.fmax(sigmas * deviation(moments), tick.floor)
        away = newest - mean
        return votes(
            whole & (moments[:, N] >= min_points),
            tail.beyond(away, limit, mean),
            away,
            value=tick.values,
            tail=newest,
            mean=mean,
            limit=limit,
            **numbers,
        )


class OfDays(Detector):
    """Base of detectors that compare a moment with the same moment on past days."""

    KEPT: ClassVar[int]
    """Numbers kept for each slot of a day."""

    days: int = Field(14, ge=1, le=62, description="The number of past days that are compared.")
    min_days: int = Field(3, ge=1, description="With fewer days of history, nothing is judged.")
    slots: int = Field(
        24, ge=1, le=1440, description="The number of slots into which a day is divided."
    )

    @cached_property
    def _daily(self) -> DailyTable:
        return DailyTable(self.slots, self.days, self.KEPT)


class OfPoints(Detector):
    """Base of detectors that ask the order of the newest points."""

    window: int = Field(
        1440, ge=3, le=100_000, description="The number of newest points in the window."
    )

    def columns(self) -> list[Column]:
        """The window in order of time and of value."""
        return [
            Column("ring", np.float32, np.nan, (self.window,)),
            Column("ordered", np.float32, np.nan, (self.window,)),
            Column("seen", np.int64),
        ]

    def learn(self, state: Columns, tick: Tick) -> None:
        """Add the points to the window."""
        from services.detector import order

        order.add_all(
            state["ring"], state["ordered"], state["seen"], indices(tick.rows), tick.values
        )
