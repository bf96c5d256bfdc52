"""The series of one partition that have an alarm threshold, with their histories."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.predictor.behaviour import Kind, behaviour_of
from services.predictor.episodes import Subject
from services.predictor.forecasters import CannotForecast
from services.predictor.forecasters.base import Floats, filled
from services.predictor.history import Histories
from services.predictor.settings import EngineSettings
from shared.columns import Array, Column, Columns, part_of
from shared.contracts.alerts import SeriesRef
from shared.items import ITEMS
from shared.samples import SampleBatch, labels_from, labels_text
from shared.series import SeriesIndex

MAX_GAP_SHARE = 0.5
"""A series of which a larger share is missing is not forecast."""
MAX_SERIES = 1_000_000
"""The number of series kept of a partition; further ones are not forecast."""
_NEVER = np.iinfo(np.int64).min
Longs = NDArray[np.int64]


class WatchedSeries:
    """The rows of series with their histories and their ``state``.

    ``step`` and ``rest``: when it was forecast last, and until when it is not forecast again;
    ``beyond``: whether its last closed step was beyond its threshold; ``limit`` and ``sign``: the
    threshold, and -1 where the alarm lies below it; ``item``: the number of its item; ``ahead``:
    how many steps it is forecast at most; ``heard_ms``: when a sample came last.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._limits: dict[str, float | None] = {
            name: settings.thresholds.get(name, item.threshold)
            for name, item in ITEMS.items()
            if item.predicted
        }
        self._limits.update(settings.thresholds)
        self._index = SeriesIndex(MAX_SERIES)
        self.histories = Histories(settings.points, settings.resolution_ms)
        self.state = Columns(
            [
                Column("step", np.int64, _NEVER),
                Column("rest", np.int64, _NEVER),
                Column("beyond", np.bool_),
                Column("sign", np.float64, 1.0),
                Column("limit", np.float64, np.inf),
                Column("item", np.int32),
                Column("ahead", np.int64),
                Column("heard_ms", np.int64, _NEVER, added=True),
            ]
        )
        self.items: list[str] = []
        """The items met so far, by their numbers."""

    def __len__(self) -> int:
        return len(self._index)

    def rule(self, item: str) -> str:
        """The alarm rule of an item, e.g. ``>= 90``."""
        known = ITEMS.get(item)
        side = ">=" if known is None or known.above else "<="
        return f"{side} {self._limits[item]:g}"

    def add(self, points: SampleBatch, now_ms: int) -> Longs:
        """Take samples in at this time; the rows (distinct, ascending) of which a step closed."""
        watched = np.array([self._limits.get(i) is not None for i in points.items], dtype=np.bool_)
        if not len(points) or not watched.any():
            return np.empty(0, np.int64)
        points = points.select(watched[points.item_code])
        rows = self._index.resolve(points)
        points, rows = points.select(rows >= 0), rows[rows >= 0]
        start = self.state.size
        self.state.grow(len(self._index))
        self._name(range(start, len(self._index)))
        self.state["heard_ms"][rows] = now_ms
        return self.histories.add(rows, points.time_ms, points.value)

    def keep(self, rows: Longs) -> None:
        """Forget all series but those of these rows, which get the numbers from 0 on."""
        self._index.keep(rows)
        self.histories.keep(rows)
        self.state.keep(rows)

    def _name(self, rows: range) -> None:
        """Set what follows from the rows' items."""
        for row in rows:
            item = self._index.names[row][1]
            if item not in self.items:
                self.items.append(item)
            known = ITEMS.get(item)
            self.state["item"][row] = self.items.index(item)
            self.state["limit"][row] = self._limit(item)
            self.state["ahead"][row] = self._settings.furthest(item)
            self.state["sign"][row] = 1.0 if known is None or known.above else -1.0

    def _limit(self, item: str) -> float:
        limit = self._limits[item]
        if limit is None:
            raise AssertionError(f"add() takes only items with a threshold, which {item} is not")
        return limit

    def find(self, series: SeriesRef) -> int | None:
        """The row of a series; None if it is not known."""
        return self._index.find(series.host, series.item, labels_text(series.labels))

    def subject(self, row: int) -> Subject:
        """The series of a row at this moment."""
        host, item, labels = self._index.names[row]
        state, known = self.histories.state, ITEMS.get(item)
        return Subject(
            series=SeriesRef(host=host, item=item, labels=labels_from(labels)),
            threshold=self._limit(item),
            above=known.above if known else True,
            time_ms=int(state["last_ms"][row]),
            value=float(state["last"][row]),
            open_step=int(state["open"][row]),
            history=self.histories.of(row),
        )

    def ahead(self, row: int, history: Floats) -> int:
        """Return how many steps the row is forecast, with such a history."""
        return self._settings.ahead(int(self.state["ahead"][row]), len(history))

    def kind(self, row: int, history: Floats) -> Kind:
        """The behaviour of the row's series, with such a history."""
        item = self._index.names[row][1]
        override = self._settings.behaviours.get(item)
        return behaviour_of(item, dense(history), self._settings.season, override)

    def snapshot(self) -> dict[str, Array]:
        """Everything, as arrays by name."""
        parts = {
            "series": self._index.snapshot(),
            "history": self.histories.snapshot(),
            "made": self.state.snapshot(),
        }
        return {f"{part}.{n}": a for part, arrays in parts.items() for n, a in arrays.items()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take a snapshot; ValueError or KeyError if it does not fit these settings."""
        self._index = SeriesIndex.restored(part_of(arrays, "series."), MAX_SERIES)
        history = part_of(arrays, "history.")
        self.histories.restore(history, len(history["open"]))
        size = len(self._index)
        # Snapshots of before do not have how far a series is forecast, which follows from its item.
        ahead = {"ahead": np.zeros(size, dtype=np.int64)}
        self.state.restore({**ahead, **part_of(arrays, "made.")}, size)
        # Thresholds may have been set again since.
        self.items.clear()
        self._name(range(size))


def dense(history: Floats) -> Floats:
    """A history that ``filled`` accepts, without gaps."""
    match filled(history, MAX_GAP_SHARE):
        case CannotForecast(reason):
            raise ValueError(f"only series with enough values are asked for: {reason}")
        case values:
            return values
