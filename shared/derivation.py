"""Derives the judged points from samples: counters become rates, exporters' series items.

``Deriver.apply`` takes a batch and gives the batch that detectors and forecasters work on:

- a counter (see ``shared.counters``) becomes its rate per second since the series' previous sample;
  where it was reset there is no value (NaN), and the first sample gives nothing;
- node_exporter's series become items (``shared.node_exporter``). An item's point is made when all
  series that feed it have come for that time, at the latest when one of them comes for a later
  time: a scrape may be spread over several requests;
- everything else passes unchanged;
- a value too large for single precision is no value: exporters write such numbers (the largest
  double there is) where they have none.

State is columnar; a batch is one vectorised step whatever it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.columns import Array, Column, Columns, part_of
from shared.counters import gauges_among, is_counter, is_presumed
from shared.node_exporter import DERIVED, FEEDS, OPERANDS, Feed, disk_of, feeds_of
from shared.samples import SampleBatch, concatenate, from_rows, labels_from, labels_text
from shared.series import SeriesIndex
from shared.series_left import fed, is_worth_it

_LANES = 4
"""Items one series feeds at most."""
_NEVER = np.iinfo(np.int64).min
_FORMULAS = list(DERIVED)
_MAX_VALUE = 3.4e38
_MAX_DECLARED = 50_000
_DECLARED = "declared"


class Deriver:
    """The state of all raw series, and of the items derived from them."""

    def __init__(self, most_series: int = 10_000_000) -> None:
        self._raw = SeriesIndex(most_series)
        # Never more than the raw series can feed.
        self._items = SeriesIndex(most_series * _LANES)
        self._raw_state = Columns(
            [
                Column("time_ms", np.int64, _NEVER),
                Column("value", np.float64, np.nan),
                Column("counter", np.bool_),
                Column("feeds", np.bool_),
                Column("target", np.int64, -1, (_LANES,)),
                Column("operand", np.int8, 0, (_LANES,)),
                Column("counted", np.bool_, 0, (_LANES,)),
                Column("presumed", np.bool_, added=True),
                Column("points", np.int32, added=True),
                Column("falls", np.int32, added=True),
                Column("odd_falls", np.int32, added=True),
            ]
        )
        self._declared: set[str] = set()
        self._disks: dict[tuple[str, str, str], str] = {}
        """The labels of the item of each machine's disks."""
        self.beyond = 0
        """Values so far that were too large to be any."""
        self._item_state = Columns(
            [
                Column("formula", np.int16),
                Column("expected", np.int32),
                Column("open_ms", np.int64, _NEVER),
                Column("done_ms", np.int64, _NEVER),
                Column("sum", np.float64, 0, (OPERANDS,)),
                Column("count", np.int32, 0, (OPERANDS,)),
            ]
        )

    def apply(self, batch: SampleBatch) -> SampleBatch:
        """The points that follow from ``batch`` (see the module's text), in no special order."""
        # Values may be anything that a number can be, also too large to be added up.
        with np.errstate(invalid="ignore", over="ignore"):
            return self._within(self._derived(batch))

    def _within(self, points: SampleBatch) -> SampleBatch:
        beyond = np.abs(points.value) > _MAX_VALUE
        if not beyond.any():
            return points
        self.beyond += int(beyond.sum())
        return replace(points, value=np.where(beyond, np.nan, points.value))

    def _derived(self, batch: SampleBatch) -> SampleBatch:
        self._declare(batch.counters)
        declared = self._declared
        special = np.array(
            [name in FEEDS or is_counter(name) or name in declared for name in batch.items],
            dtype=bool,
        )
        if not special.any():
            return batch
        chosen = special[batch.item_code]
        raw = self._sorted(batch.select(np.flatnonzero(chosen)))
        parts = [] if chosen.all() else [batch.select(np.flatnonzero(~chosen))]
        if raw is not None:
            samples, rows = raw
            values = self._rates(samples, rows)
            state = self._raw_state
            passing = ~state["feeds"][rows] & ~(state["counter"][rows] & (values == np.inf))
            parts.append(replace(samples, value=values).select(passing))
            parts.append(self._items_from(samples.time_ms, values, rows))
        return replace(concatenate(parts), clock_ms=batch.clock_ms, started=batch.started)

    def __len__(self) -> int:
        """Return how many raw series are known."""
        return len(self._raw)

    def forget(self, before_ms: int) -> None:
        """Forget raw series without a sample since then, and the items that nothing feeds any more.

        One that begins again is like a new one: a counter's first sample gives no rate.
        """
        state, size = self._raw_state, len(self._raw)
        stays = state["time_ms"][:size] >= before_ms
        if not is_worth_it(stays):
            return
        items = fed(state["target"][:size], stays, self._item_state["expected"])
        rows = np.flatnonzero(stays)
        for part, kept in ((self._raw, rows), (state, rows), (self._items, items)):
            part.keep(kept)
        self._item_state.keep(items)
        self._know_disks()

    def _declare(self, counters: tuple[str, ...]) -> None:
        """Take an exporter's word for it; series that are known already become counters, too."""
        new = set(counters) - self._declared
        if not new or len(self._declared) + len(new) > _MAX_DECLARED:
            return
        self._declared |= new
        state = self._raw_state
        for row, (_, item, _) in enumerate(self._raw.names[: state.size]):
            if item in new:
                state["counter"][row], state["presumed"][row] = True, False

    def _sorted(self, batch: SampleBatch) -> tuple[SampleBatch, NDArray[np.int64]] | None:
        """Samples by series and time, without those a series has had already."""
        rows = self._raw.resolve(batch)
        self._register()
        taken = np.flatnonzero(rows >= 0)
        batch, rows = batch.select(taken), rows[taken]
        fresh = batch.time_ms > self._raw_state["time_ms"][rows]
        order = np.lexsort((batch.time_ms, rows))
        order = order[fresh[order]]
        if not len(order):
            return None
        same = (np.diff(rows[order]) == 0) & (np.diff(batch.time_ms[order]) == 0)
        order = order[np.concatenate([[True], ~same])]
        return batch.select(order), rows[order]

    def _register(self) -> None:
        state = self._raw_state
        start = state.size
        state.grow(len(self._raw))
        for row in range(start, len(self._raw)):
            host, item, text = self._raw.names[row]
            declared = item in self._declared
            state["counter"][row] = declared or is_counter(item)
            state["presumed"][row] = is_presumed(item) and not declared
            own = labels_from(text)
            for lane, (feed, labels) in enumerate(feeds_of(item, own)):
                target = self._items.row_of(
                    host, feed.item, self._item_labels(host, feed, labels, own)
                )
                self._item_state.grow(len(self._items))
                self._item_state["formula"][target] = _FORMULAS.index(feed.item)
                self._item_state["expected"][target] += 1
                state["feeds"][row] = True
                state["target"][row, lane] = target
                state["operand"][row, lane] = feed.operand
                state["counted"][row, lane] = feed.counted

    def _item_labels(
        self, host: str, feed: Feed, labels: Mapping[str, str], own: Mapping[str, str]
    ) -> str:
        """The labels of the item that a series feeds; of a disk with many mounts the first one's.

        All of them feed it: the disk's share is the same whichever of them come and go.
        """
        text = labels_text(labels)
        disk = disk_of(own) if feed.of_a_disk else ""
        return self._disks.setdefault((host, feed.item, disk), text) if disk else text

    def _know_disks(self) -> None:
        """Read from the items which mount each disk has its name of, though that may be gone."""
        self._disks.clear()
        for row, (host, item, text) in enumerate(self._raw.names):
            own = labels_from(text) if item in FEEDS else {}
            for lane, (feed, _) in enumerate(feeds_of(item, own)):
                if feed.of_a_disk and (disk := disk_of(own)):
                    named = self._items.names[self._raw_state["target"][row, lane]][2]
                    self._disks.setdefault((host, feed.item, disk), named)

    def _rates(self, samples: SampleBatch, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values, counters as rates; inf marks a counter's first sample, which gives nothing."""
        state, times, values = self._raw_state, samples.time_ms, samples.value
        first = np.concatenate([[True], rows[1:] != rows[:-1]])
        before_ms = np.where(first, state["time_ms"][rows], np.roll(times, 1))
        before = np.where(first, state["value"][rows], np.roll(values, 1))
        unseen = before_ms == _NEVER
        seconds = np.where(unseen, 1.0, (times - np.where(unseen, 0, before_ms)) / 1000)
        rate = np.where(values >= before, (values - before) / seconds, np.nan)
        gauges = gauges_among(state, rows, first, before, np.where(unseen, np.nan, values))
        state["counter"][gauges] = state["presumed"][gauges] = False
        last = np.concatenate([first[1:], [True]])
        state["time_ms"][rows[last]], state["value"][rows[last]] = times[last], values[last]
        found: NDArray[np.float64] = np.where(
            state["counter"][rows], np.where(unseen, np.inf, rate), values
        )
        return found

    def _items_from(
        self, times: NDArray[np.int64], values: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> SampleBatch:
        state = self._raw_state
        target = state["target"][rows]
        counted = state["counted"][rows]
        usable = (target >= 0) & (counted | (np.isfinite(values)[:, None]))
        at, lane = np.nonzero(usable)
        target = target[at, lane]
        amount = np.where(counted[at, lane], 1.0, values[at])
        fresh = times[at] > self._item_state["done_ms"][target]
        fresh &= times[at] >= self._item_state["open_ms"][target]
        at, lane, target, amount = at[fresh], lane[fresh], target[fresh], amount[fresh]
        return self._collect(target, times[at], state["operand"][rows[at], lane], amount)

    def _collect(
        self,
        target: NDArray[np.int64],
        times: NDArray[np.int64],
        operand: NDArray[np.int8],
        amount: NDArray[np.float64],
    ) -> SampleBatch:
        """Add to open items, close complete or overtaken ones, and return their points."""
        state = self._item_state
        touched = np.unique(target)
        opened = touched[state["open_ms"][touched] != _NEVER]
        keys = np.stack(
            [np.concatenate([opened, target]), np.concatenate([state["open_ms"][opened], times])]
        )
        moments, place = np.unique(keys, axis=1, return_inverse=True)
        place = place.ravel()
        sums = np.zeros((moments.shape[1], OPERANDS))
        counts = np.zeros((moments.shape[1], OPERANDS), dtype=np.int32)
        sums[place[: len(opened)]] = state["sum"][opened]
        counts[place[: len(opened)]] = state["count"][opened]
        np.add.at(sums, (place[len(opened) :], operand), amount)
        sums[np.isinf(sums)] = np.nan  # too large for a number: no formula makes a share of it
        np.add.at(counts, (place[len(opened) :], operand), 1)
        row, moment = moments
        overtaken = np.concatenate([row[1:] == row[:-1], [False]]) if len(row) else row == 0
        closed = overtaken | (counts.sum(axis=1) >= state["expected"][row])
        newest = ~overtaken
        held = newest & ~closed
        state["open_ms"][row[newest]] = np.where(closed[newest], _NEVER, moment[newest])
        state["sum"][row[held]], state["count"][row[held]] = sums[held], counts[held]
        np.maximum.at(state["done_ms"], row[closed], moment[closed])
        return self._points(row[closed], moment[closed], sums[closed], counts[closed])

    def _points(
        self, row: Array, moment: Array, sums: NDArray[np.float64], counts: Array
    ) -> SampleBatch:
        formula = self._item_state["formula"][row]
        rows: list[tuple[str, str, str, int, float]] = []
        for number in np.unique(formula):
            derived = DERIVED[_FORMULAS[number]]
            here = formula == number
            # An operand that no series has fed: no point.
            here &= (counts[:, : derived.operands] > 0).all(axis=1)
            values = derived.formula(sums[here], counts[here].astype(np.float64))
            rows += [
                (*self._items.names[target], int(time_ms), float(value))
                for target, time_ms, value in zip(row[here], moment[here], values, strict=True)
            ]
        return from_rows(rows)

    def snapshot(self) -> dict[str, Array]:
        """The whole state as named arrays."""
        parts: dict[str, Mapping[str, Array]] = {
            "raw.series": self._raw.snapshot(),
            "items.series": self._items.snapshot(),
            "raw.state": self._raw_state.snapshot(),
            "items.state": self._item_state.snapshot(),
        }
        declared = np.frombuffer(orjson.dumps(sorted(self._declared)), dtype=np.uint8)
        return {_DECLARED: declared} | {
            f"{part}.{key}": array for part, all_ in parts.items() for key, array in all_.items()
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, Array], most_series: int = 10_000_000) -> Deriver:
        """The deriver whose ``snapshot`` was taken; ValueError or KeyError if it does not fit."""
        deriver = cls(most_series)
        deriver._raw = SeriesIndex.restored(part_of(arrays, "raw.series."), most_series)
        deriver._items = SeriesIndex.restored(
            part_of(arrays, "items.series."), most_series * _LANES
        )
        deriver._raw_state.restore(part_of(arrays, "raw.state."), len(deriver._raw))
        deriver._item_state.restore(part_of(arrays, "items.state."), len(deriver._items))
        deriver._know_disks()
        if _DECLARED in arrays:
            deriver._declared = set(orjson.loads(arrays[_DECLARED].tobytes()))
        return deriver
