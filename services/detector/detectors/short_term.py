"""Short-term ratio (SS): does the point differ from most of the points just before it?

Rule: with the previous ``points`` values ``i``, anomalous iff
``count(abs(now - i) > threshold) > more_than``; direction = sign(now - previous point).

Dynamic threshold: ``min(max - avg, avg - min)`` over a longer window of its own, never below a
floor. That window moves by whole blocks: it covers the newest ``window_points`` points to within
one block, so a series costs ``3 * blocks`` numbers instead of ``window_points``.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from services.detector.detectors.base import Detector, Floats, Tick, Votes, detector, votes
from shared.columns import Column, Columns


@detector
class ShortTerm(Detector):
    """Detects sudden changes; for series without a daily rhythm."""

    NAME: ClassVar[str] = "short_term"

    points: int = Field(
        7, ge=2, le=64, description="The number T of previous points that are compared."
    )
    more_than: int = Field(3, ge=0, le=63, description="More than this many of them must differ.")
    threshold: float | None = Field(
        None, gt=0, description="A fixed threshold in the item's unit; null: a dynamic one."
    )
    window_points: int = Field(
        1440,
        ge=2,
        le=100_000,
        description="The number of points of the dynamic threshold's window.",
    )
    blocks: int = Field(
        24, ge=1, le=2000, description="The number of blocks in which the window moves."
    )
    min_points: int = Field(
        120, ge=2, description="With fewer points in the window, nothing is judged."
    )
    floor_absolute: float = Field(
        0.01, gt=0, description="The smallest threshold, in the item's unit."
    )
    floor_relative: float = Field(
        0.05, ge=0, description="The smallest threshold, as a share of abs(mean)."
    )

    @model_validator(mode="after")
    def _whole_blocks(self) -> ShortTerm:
        if self.window_points % self.blocks:
            msg = f"window_points {self.window_points} is not a multiple of blocks {self.blocks}"
            raise ValueError(msg)
        if self.more_than >= self.points:
            msg = f"more_than {self.more_than} can never be exceeded by {self.points} points"
            raise ValueError(msg)
        return self

    @property
    def _block_points(self) -> int:
        return self.window_points // self.blocks

    def columns(self) -> list[Column]:
        """The last points; sums, minima and maxima of blocks; those of the full blocks at once."""
        block = (self.blocks,)
        return [
            Column("recent", np.float64, np.nan, (self.points,)),
            Column("held", np.int32),
            Column("low", np.float64, np.inf, block),
            Column("high", np.float64, -np.inf, block),
            Column("sum", np.float64, 0, block),
            Column("at", np.int32),
            Column("filled", np.int32),
            Column("full", np.int32),
            Column("full_low", np.float64, np.inf),
            Column("full_high", np.float64, -np.inf),
            Column("full_sum", np.float64),
            Column("open_low", np.float64, np.inf),
            Column("open_high", np.float64, -np.inf),
            Column("open_sum", np.float64),
        ]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Count the previous points that differ by more than the threshold."""
        rows = tick.rows
        recent = state["recent"][rows]
        threshold, enough = self._threshold(state, tick)
        with np.errstate(invalid="ignore"):
            threshold = np.maximum(threshold, tick.floor)
            differing = (np.abs(tick.values[:, None] - recent) > threshold[:, None]).sum(axis=1)
        judged = enough & (state["held"][rows] >= self.points) & ~tick.broken
        previous = recent[:, -1].copy()
        return votes(
            judged,
            differing > self.more_than,
            tick.values - previous,
            value=tick.values,
            previous=previous,
            threshold=threshold,
            differing=differing,
        )

    def _threshold(self, state: Columns, tick: Tick) -> tuple[Floats, np.ndarray]:
        rows = tick.rows
        if self.threshold is not None:
            fixed = np.full(len(tick), self.threshold)
            return fixed, np.ones(len(tick), dtype=np.bool_)
        count = state["full"][rows] * self._block_points + state["filled"][rows]
        low = np.minimum(state["full_low"][rows], state["open_low"][rows])
        high = np.maximum(state["full_high"][rows], state["open_high"][rows])
        mean = (state["full_sum"][rows] + state["open_sum"][rows]) / np.maximum(count, 1)
        with np.errstate(invalid="ignore"):
            spread = np.minimum(high - mean, mean - low)
        floor = np.maximum(self.floor_absolute, self.floor_relative * np.abs(mean))
        return np.fmax(spread, floor), count >= self.min_points

    def learn(self, state: Columns, tick: Tick) -> None:
        """Append to the last points (starting over after a break) and to the open block."""
        rows = tick.rows
        recent = state["recent"][rows]
        recent[:, :-1] = recent[:, 1:].copy()
        recent[:, -1] = tick.values
        state["recent"][rows] = recent
        held = np.where(tick.broken, 0, state["held"][rows])
        state["held"][rows] = np.minimum(held + 1, self.points)
        if self.threshold is None:
            self._widen(state, tick)

    def _widen(self, state: Columns, tick: Tick) -> None:
        rows = tick.rows
        low = np.minimum(state["open_low"][rows], tick.values)
        high = np.maximum(state["open_high"][rows], tick.values)
        total = state["open_sum"][rows] + tick.values
        filled = state["filled"][rows] + 1
        state["open_low"][rows], state["open_high"][rows] = low, high
        state["open_sum"][rows], state["filled"][rows] = total, filled
        done = filled >= self._block_points
        if done.any():
            self._close(state, tick.select(done), low[done], high[done], total[done])

    def _close(self, state: Columns, tick: Tick, low: Floats, high: Floats, total: Floats) -> None:
        rows = tick.rows
        at = state["at"][rows]
        state["low"][rows, at], state["high"][rows, at], state["sum"][rows, at] = low, high, total
        state["at"][rows] = (at + 1) % self.blocks
        state["full"][rows] = np.minimum(state["full"][rows] + 1, self.blocks)
        state["full_low"][rows] = state["low"][rows].min(axis=1)
        state["full_high"][rows] = state["high"][rows].max(axis=1)
        state["full_sum"][rows] = state["sum"][rows].sum(axis=1)
        state["open_low"][rows], state["open_high"][rows] = np.inf, -np.inf
        state["open_sum"][rows] = 0
        state["filled"][rows] = 0

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the count, the threshold and the value."""
        return (
            f"{numbers['value']:.6g} differs by more than {numbers['threshold']:.6g} from "
            f"{numbers['differing']:.0f} of the {self.points} points before "
            f"(the last was {numbers['previous']:.6g}; more than {self.more_than} is an anomaly)"
        )
