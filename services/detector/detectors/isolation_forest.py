"""Isolation forest: is the point separated from the rest by few random cuts?

Each series has ``trees`` trees, each grown from ``samples`` = 100 points drawn without
replacement from the last ``window`` ones; a point's features are its value and its change. A tree
cuts a random feature at a random place between the node's least and largest value, to a depth of
ceil(log2(samples)). Score ``s = 2^(-mean path / c(samples))``, ``c(n) = 2*H(n-1) - 2*(n-1)/n``,
and a leaf of m points adds c(m) to its path; anomalous iff ``s > threshold``; direction from the
window's mean.

Incremental: every ``rebuild_every`` points a series replaces its oldest tree by a new one, so a
step costs at most one tree a series. Randomness is a hash of (seed, trees grown so far, place), so
the same points always give the same forest.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from services.detector.detectors.base import Detector, Floats, Tick, Votes, detector, votes
from shared.columns import Column, Columns, indices

_FEATURES = 2
_EULER = 0.5772156649015329
_PAIR = 2


def expected_path(points: NDArray[np.int64]) -> Floats:
    """c(n): mean path of an unsuccessful search among ``points`` points; 0 for up to one."""
    n = np.maximum(points, _PAIR).astype(np.float64)
    harmonic = np.where(points <= _PAIR, 1.0, np.log(n - 1) + _EULER)
    return np.where(points <= 1, 0.0, 2 * harmonic - 2 * (n - 1) / n)


def hashed_uniform(*parts: NDArray[np.int64] | int) -> Floats:
    """Numbers in [0, 1) that look random and depend on nothing but ``parts`` (broadcast)."""
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = state ^ np.asarray(part, dtype=np.int64).astype(np.uint64)
            state = state + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)) / float(1 << 53)


@detector
class IsolationForest(Detector):
    """Detects points unlike the recent ones in value and change; expensive, so best as a voter."""

    NAME: ClassVar[str] = "isolation_forest"

    trees: int = Field(25, ge=1, le=500, description="The number of trees per series.")
    samples: int = Field(
        100, ge=2, le=1000, description="The number of points from which a tree is built."
    )
    window: int = Field(
        256, ge=2, le=10_000, description="The number of newest points from which they are drawn."
    )
    rebuild_every: int = Field(16, ge=1, description="The number of points between two new trees.")
    threshold: float = Field(
        0.65, gt=0, lt=1, description="A point with a higher score is anomalous."
    )
    seed: int = Field(1, ge=0, description="The seed of the random numbers.")

    @model_validator(mode="after")
    def _enough_points(self) -> IsolationForest:
        if self.samples > self.window:
            msg = f"samples {self.samples} cannot be drawn from a window of {self.window}"
            raise ValueError(msg)
        return self

    @property
    def _depth(self) -> int:
        return math.ceil(math.log2(self.samples))

    def columns(self) -> list[Column]:
        """The window of points, and the trees as complete binary trees in arrays."""
        inner, leaves = (1 << self._depth) - 1, 1 << self._depth
        return [
            Column("window", np.float32, np.nan, (self.window, _FEATURES)),
            Column("seen", np.int64),
            Column("grown", np.int64),
            Column("previous", np.float64, np.nan),
            Column("feature", np.int8, 0, (self.trees, inner)),
            Column("cut", np.float32, np.inf, (self.trees, inner)),
            Column("path", np.float32, 0, (self.trees, leaves)),
        ]

    def judge(self, state: Columns, tick: Tick) -> Votes:
        """Score by the mean path over all trees grown so far."""
        rows = indices(tick.rows)
        grown = np.minimum(state["grown"][rows], self.trees)
        ready = grown > 0
        score = np.full(len(rows), np.nan)
        if ready.any():
            point = self._features(state, tick)[ready]
            paths = self._paths(state, rows[ready], point)
            used = np.arange(self.trees) < grown[ready][:, None]
            mean = (paths * used).sum(axis=1) / grown[ready]
            score[ready] = np.exp2(-mean / expected_path(np.array(self.samples)))
        count = np.maximum(np.minimum(state["seen"][rows], self.window), 1)
        level = np.nansum(state["window"][rows, :, 0], axis=1, dtype=np.float64) / count
        with np.errstate(invalid="ignore"):
            high = (score > self.threshold) & (np.abs(tick.values - level) >= tick.floor)
        return votes(
            ready & ~tick.broken,
            high,
            tick.values - level,
            value=tick.values,
            score=score,
            threshold=np.full(len(rows), self.threshold),
            level=level,
            trees=grown,
        )

    def _features(self, state: Columns, tick: Tick) -> NDArray[np.float32]:
        previous = state["previous"][tick.rows]
        change = np.where(np.isnan(previous) | tick.broken, 0.0, tick.values - previous)
        return np.column_stack([tick.values, change]).astype(np.float32)

    def _paths(self, state: Columns, rows: NDArray[np.int64], point: NDArray[np.float32]) -> Floats:
        """Path lengths (n, trees) of one point a series."""
        row, tree = rows[:, None], np.arange(self.trees)[None, :]
        node = np.zeros((len(rows), self.trees), dtype=np.int64)
        for _ in range(self._depth):
            feature = state["feature"][row, tree, node]
            value = np.take_along_axis(point, feature.astype(np.int64), axis=1)
            node = 2 * node + 1 + (value >= state["cut"][row, tree, node])
        leaf = node - ((1 << self._depth) - 1)
        return state["path"][row, tree, leaf].astype(np.float64)

    def learn(self, state: Columns, tick: Tick) -> None:
        """Add the point to the window; grow a tree where one is due."""
        rows = indices(tick.rows)
        seen = state["seen"][rows]
        state["window"][rows, seen % self.window] = self._features(state, tick)
        state["previous"][rows] = tick.values
        state["seen"][rows] = seen + 1
        due = (seen + 1 >= self.samples) & ((seen + 1 - self.samples) % self.rebuild_every == 0)
        if due.any():
            self._grow(state, rows[due])

    def _grow(self, state: Columns, rows: NDArray[np.int64]) -> None:
        number = state["grown"][rows]
        tree = number % self.trees
        points = self._draw(state, rows, number)
        n = len(rows)
        node = np.zeros((n, self.samples), dtype=np.int64)
        stopped = np.full((n, self.samples), self._depth, dtype=np.int64)
        for depth in range(self._depth):
            feature, cut, open_ = self._cuts(points, node, depth, number)
            first = (1 << depth) - 1
            state["feature"][rows, tree, first : 2 * first + 1] = feature
            state["cut"][rows, tree, first : 2 * first + 1] = cut
            here = np.take_along_axis(feature, node, axis=1)
            value = np.take_along_axis(points, here[:, :, None].astype(np.int64), axis=2)[:, :, 0]
            closed = ~np.take_along_axis(open_, node, axis=1)
            stopped = np.where(closed & (stopped == self._depth), depth, stopped)
            node = 2 * node + (value >= np.take_along_axis(cut, node, axis=1))
        leaves = 1 << self._depth
        flat = (np.arange(n)[:, None] * leaves + node).ravel()
        count = np.bincount(flat, minlength=n * leaves)
        depth_of = np.full(n * leaves, self._depth, dtype=np.int64)
        depth_of[flat] = stopped.ravel()
        path = (depth_of + expected_path(count)).reshape(n, leaves)
        state["path"][rows, tree] = path
        state["grown"][rows] = number + 1

    def _draw(
        self, state: Columns, rows: NDArray[np.int64], number: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """``samples`` distinct points of each window, (n, samples, features)."""
        place = np.arange(self.window)
        key = hashed_uniform(self.seed, number[:, None], place[None, :])
        held = np.minimum(state["seen"][rows], self.window)
        key = np.where(place < held[:, None], key, 2.0)
        chosen = np.argsort(key, axis=1, kind="stable")[:, : self.samples]
        points: NDArray[np.float32] = state["window"][rows[:, None], chosen]
        return points

    def _cuts(
        self,
        points: NDArray[np.float32],
        node: NDArray[np.int64],
        depth: int,
        number: NDArray[np.int64],
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.bool_]]:
        """Feature, place and whether there is anything to cut, for every node of a level."""
        n, width = len(points), 1 << depth
        flat = np.arange(n)[:, None] * width + node
        low = np.full((n * width, _FEATURES), np.inf, dtype=np.float32)
        high = np.full((n * width, _FEATURES), -np.inf, dtype=np.float32)
        for feature in range(_FEATURES):
            np.minimum.at(low[:, feature], flat.ravel(), points[:, :, feature].ravel())
            np.maximum.at(high[:, feature], flat.ravel(), points[:, :, feature].ravel())
        shape = (n, width, _FEATURES)
        low, high = low.reshape(shape), high.reshape(shape)
        place = np.arange(width)[None, :] + width
        coin = hashed_uniform(self.seed + 1, number[:, None], place) < 1 / _FEATURES
        splittable = high > low
        # The other feature where the drawn one is constant in this node.
        feature_of = np.where(coin & splittable[:, :, 1] | ~splittable[:, :, 0], 1, 0)
        open_ = splittable[:, :, 0] | splittable[:, :, 1]
        share = hashed_uniform(self.seed + 2, number[:, None], place).astype(np.float32)
        at = feature_of[:, :, None]
        least = np.take_along_axis(low, at, axis=2)[:, :, 0]
        most = np.take_along_axis(high, at, axis=2)[:, :, 0]
        with np.errstate(invalid="ignore"):
            cut = least + share * (most - least)
        # Nothing to cut: everything goes left, to the leaf that carries this node's path.
        return feature_of.astype(np.int8), np.where(open_, cut, np.inf).astype(np.float32), open_

    def explain(self, numbers: dict[str, float]) -> str:
        """Name the score and what it is compared with."""
        return (
            f"isolation score {numbers['score']:.3f} over {numbers['trees']:.0f} trees (above "
            f"{numbers['threshold']:.3f} is unlike the rest); {numbers['value']:.6g}, while the "
            f"window's mean is {numbers['level']:.6g}"
        )
