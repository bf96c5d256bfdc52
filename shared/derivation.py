"""From samples as they come to points as they are judged: counters to rates, series to items.

``Deriver.apply`` takes a batch and gives the batch that detectors and forecasters work on:

- a counter (``..._total``) becomes its rate per second since the series' previous sample; where
  it was reset there is no value (NaN), and the first sample gives nothing;
- node_exporter's series become items (``shared.node_exporter``). An item's point is made when all
  series that feed it have come for that time, at the latest when one of them comes for a later
  time: a scrape may be spread over several requests;
- everything else passes unchanged.

State is columnar; a batch is one vectorised step whatever it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.columns import Array, Column, Columns
from shared.node_exporter import DERIVED, FEEDS, OPERANDS, feeds_of, is_counter
from shared.samples import SampleBatch, concatenate, from_rows, labels_from, labels_text
from shared.series import SeriesIndex

_LANES = 4
"""Items one series feeds at most."""
_NEVER = np.iinfo(np.int64).min
_FORMULAS = list(DERIVED)


class Deriver:
    """The state of all raw series and of all items being put together."""

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
            ]
        )
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
        special = np.array([name in FEEDS or is_counter(name) for name in batch.items], dtype=bool)
        if not special.any():
            return batch
        chosen = special[batch.item_code]
        raw = self._sorted(batch.select(np.flatnonzero(chosen)))
        parts = [self._rest(batch, chosen)] if not chosen.all() else []
        if raw is not None:
            samples, rows = raw
            values = self._rates(samples, rows)
            state = self._raw_state
            passing = ~state["feeds"][rows] & ~(state["counter"][rows] & (values == np.inf))
            parts.append(replace(samples, value=values).select(passing))
            parts.append(self._items_from(samples.time_ms, values, rows))
        return replace(concatenate(parts), clock_ms=batch.clock_ms)

    @staticmethod
    def _rest(batch: SampleBatch, chosen: NDArray[np.bool_]) -> SampleBatch:
        return batch.select(np.flatnonzero(~chosen))

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
            state["counter"][row] = is_counter(item)
            for lane, (feed, labels) in enumerate(feeds_of(item, labels_from(text))):
                target = self._items.row_of(host, feed.item, labels_text(labels))
                self._item_state.grow(len(self._items))
                self._item_state["formula"][target] = _FORMULAS.index(feed.item)
                self._item_state["expected"][target] += 1
                state["feeds"][row] = True
                state["target"][row, lane] = target
                state["operand"][row, lane] = feed.operand
                state["counted"][row, lane] = feed.counted

    def _rates(self, samples: SampleBatch, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values, counters as rates; inf marks a counter's first sample, which gives nothing."""
        state, times, values = self._raw_state, samples.time_ms, samples.value
        first = np.concatenate([[True], rows[1:] != rows[:-1]])
        before_ms = np.where(first, state["time_ms"][rows], np.roll(times, 1))
        before = np.where(first, state["value"][rows], np.roll(values, 1))
        unseen = before_ms == _NEVER
        seconds = np.where(unseen, 1.0, (times - np.where(unseen, 0, before_ms)) / 1000)
        with np.errstate(invalid="ignore"):
            rate = np.where(values >= before, (values - before) / seconds, np.nan)
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
        """Add to what is open, close what is complete or overtaken; the closed ones' points."""
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
        return {
            f"{part}.{key}": array for part, all_ in parts.items() for key, array in all_.items()
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, Array], most_series: int = 10_000_000) -> Deriver:
        """The deriver whose ``snapshot`` was taken; ValueError or KeyError if it does not fit."""
        deriver = cls(most_series)
        deriver._raw = SeriesIndex.restored(_part(arrays, "raw.series."), most_series)
        deriver._items = SeriesIndex.restored(_part(arrays, "items.series."), most_series * _LANES)
        deriver._raw_state.restore(_part(arrays, "raw.state."), len(deriver._raw))
        deriver._item_state.restore(_part(arrays, "items.state."), len(deriver._items))
        return deriver


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
