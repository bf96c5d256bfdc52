"""Predicts one partition: batches of samples in, predictions and their ends out.

Deterministic: what is forecast when follows from the samples' own times, ids from the series and
the step at which an episode began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray

from services.predictor.coverage import Coverage
from services.predictor.curves import curve_of
from services.predictor.ended_series import EndedSeries
from services.predictor.episodes import Episodes
from services.predictor.forecasters.base import Floats
from services.predictor.forecasting import Forecasting, Made
from services.predictor.ledger import Judged
from services.predictor.nearness import Nearness
from services.predictor.settings import EngineSettings
from services.predictor.watched import MAX_SERIES, WatchedSeries
from shared.columns import Array, part_of
from shared.contracts import Curve, Message
from shared.contracts.alerts import SeriesRef
from shared.derivation import Deriver
from shared.samples import SampleBatch
from shared.series_left import left, patience_ms
from shared.weeks import week_of

_NEVER = np.iinfo(np.int64).min
Bools = NDArray[np.bool_]
Longs = NDArray[np.int64]


class Engine:
    """All series of one partition whose item has an alarm threshold."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._deriver = Deriver(MAX_SERIES)
        self._watched = WatchedSeries(settings)
        self._nearness = Nearness()
        self._coverage = Coverage(settings.horizon)
        self._forecasting = Forecasting(settings, self._watched, self._coverage)
        self.episodes = Episodes(settings)
        self._ended_series = EndedSeries(settings, self._watched, self.episodes)
        self._pending: set[int] = set()
        self._step, self._left = _NEVER, 0

    @property
    def lag(self) -> int:
        """Series whose forecast is overdue because the budget was used up."""
        return len(self._pending)

    @property
    def series(self) -> int:
        """Series known."""
        return len(self._watched)

    def rule(self, item: str) -> str:
        """The alarm rule of an item, e.g. ``>= 90``."""
        return self._watched.rule(item)

    def process(self, samples: SampleBatch) -> list[Message]:
        """Take a batch in; forecast what has closed a step, oldest first, within the budget."""
        before_ms = self._ended_series.running_ms
        closed = self._watched.add(self._deriver.apply(samples), before_ms)
        for part in (self._nearness.state, self._coverage.state):
            part.grow(len(self._watched))
        events = self._closed(closed) if len(closed) else []
        events += self._ended_series.ends(samples)
        self._forget(before_ms)
        return events

    def _forget(self, before_ms: int) -> None:
        """Forget series that have sent nothing for so long that nothing of them is left."""
        now_ms, size = self._ended_series.running_ms, len(self._watched)
        used = max(size, len(self._deriver))
        patience = patience_ms(before_ms, now_ms, used, MAX_SERIES)
        if patience is None:
            return
        self._deriver.forget(self._ended_series.now_ms - patience)
        kept = np.zeros(size, dtype=np.bool_)
        kept[[*self.episodes.ledger.episodes]] = True
        rows = left(self._watched.state["heard_ms"][:size], kept, now_ms, patience)
        if rows is None:
            return
        places = {row: at for at, row in enumerate(rows.tolist())}
        self._watched.keep(rows)
        self._nearness.state.keep(rows)
        self._coverage.state.keep(rows)
        self._forecasting.keep(places)
        self.episodes.ledger.keep(places)
        self._pending = {places[row] for row in self._pending if row in places}

    def _closed(self, closed: Longs) -> list[Message]:
        """Judge the rows of which a step closed, and forecast those whose turn it is."""
        surprised, events = self._judge(closed)
        due = self._due(closed, surprised)
        self._pending.update(closed[due].tolist())
        self._pending.difference_update(closed[~due].tolist())
        for made in self._forecasting.forecast(self._take(closed)):
            events += self._consequences(made)
        return events

    def curve(self, series: SeriesRef) -> Curve | None:
        """The history of a series and what would be forecast now; it changes nothing."""
        row = self._watched.find(series)
        if row is None:
            return None
        foreseen = self._forecasting.foreseen(row)
        return curve_of(self._watched.subject(row), foreseen, self._settings)

    # Closed steps

    def _judge(self, closed: Longs) -> tuple[Bools, list[Message]]:
        """Judge the forecasts that had a value for the closed steps.

        Returns which steps no forecast's interval held, and the events: alarms that came, and
        predictions whose time has passed.
        """
        history, state = self._watched.histories.state, self._watched.state
        values, last_step = self._watched.histories.closed(closed), history["open"][closed] - 1
        known, inside = self._coverage.judge(closed, last_step, values)
        items = state["item"][closed]
        weeks = week_of(last_step * self._settings.resolution_ms)
        self._count_coverage(items[known], weeks[known], inside)
        signed = state["sign"][closed] * values
        finite = np.isfinite(signed)
        self._nearness.update(closed[finite], signed[finite])
        beyond = signed >= state["sign"][closed] * state["limit"][closed]
        decided, chances, came = self._coverage.came(closed, last_step, beyond)
        self._count_chances(items[decided], weeks[decided], chances, came)
        # An alarm in the very first step began before we looked.
        began = beyond & ~state["beyond"][closed] & (last_step > history["first"][closed])
        state["beyond"][closed] = beyond
        surprised = np.zeros(len(closed), dtype=np.bool_)
        surprised[known] = ~inside
        return surprised, list(self._alarms(closed, began, beyond))

    def _alarms(self, closed: Longs, began: Bools, beyond: Bools) -> Iterator[Message]:
        """The consequences of alarms that began, and of steps that brought none."""
        waiting = ~beyond & self._has_episode(closed)
        for at in np.flatnonzero(began | waiting):
            row = int(closed[at])
            subject = self._watched.subject(row)
            if began[at]:
                yield from self.episodes.alarm_came(row, subject)
            else:
                yield from self.episodes.time_passed(row, subject)

    def _has_episode(self, rows: Longs) -> Bools:
        episodes = self.episodes.ledger.episodes
        return np.isin(rows, np.fromiter(episodes, dtype=np.int64, count=len(episodes)))

    def _count_coverage(self, items: NDArray[np.int32], weeks: Longs, inside: Bools) -> None:
        for own, scores in self._scores(items, weeks):
            for score in scores:
                score.judged += int(own.sum())
                score.inside += int(inside[own].sum())

    def _count_chances(
        self, items: NDArray[np.int32], weeks: Longs, chances: Floats, came: Bools
    ) -> None:
        squares = (chances - came) ** 2
        for own, scores in self._scores(items, weeks):
            for score in scores:
                score.chances += int(own.sum())
                score.came += int(came[own].sum())
                score.squares += float(squares[own].sum())

    def _scores(
        self, items: NDArray[np.int32], weeks: Longs
    ) -> Iterator[tuple[Bools, tuple[Judged, Judged]]]:
        """For each item and week which of the rows are theirs, and the scores that count them."""
        ledger, names = self.episodes.ledger, self._watched.items
        for code in np.unique(items):
            of_item = items == code
            for week in np.unique(weeks[of_item]):
                yield of_item & (weeks == week), ledger.judged(names[code], int(week))

    # Forecasts

    def _due(self, closed: Longs, surprised: Bools) -> Bools:
        """Return which of the closed rows are worth a forecast."""
        history, state = self._watched.histories.state, self._watched.state
        limits = state["sign"][closed] * state["limit"][closed]
        near = self._nearness.near(closed, limits, state["ahead"][closed])
        near |= self._has_episode(closed)
        first, opened = history["first"][closed], history["open"][closed]
        # A series that was forecast rests, unless it leaves that forecast.
        rested = (opened >= state["rest"][closed]) | surprised
        long_enough = opened - first >= self._settings.min_points
        found: Bools = near & rested & long_enough & ~state["beyond"][closed]
        return found

    def _take(self, closed: Longs) -> list[int]:
        """Return whose turn it is, taken from the pending."""
        opened = self._watched.histories.state["open"]
        if (newest := int(opened[closed].max())) > self._step:
            self._step, self._left = newest, self._settings.budget_per_step
        made = self._watched.state["step"]
        turn = sorted(self._pending, key=lambda row: (int(made[row]), row))[: self._left]
        self._left -= len(turn)
        self._pending.difference_update(turn)
        made[turn] = opened[turn]
        return turn

    def _consequences(self, made: Made) -> Iterator[Message]:
        """Let the series rest after its forecast, and return what the forecast changes."""
        rest = self._rest(made)
        self._watched.state["rest"][made.row] = made.subject.open_step + rest
        yield from self.episodes.forecast_made(
            made.row, made.subject, made.prediction, made.clean_ups
        )

    def _rest(self, made: Made) -> int:
        """Steps until the series' next forecast; none where a prediction is in doubt."""
        if made.prediction:
            return self._settings.revisit_steps
        return 0 if made.row in self.episodes.ledger.episodes else self._settings.rest_steps

    # Snapshots

    def snapshot(self) -> dict[str, Array]:
        """Everything, as arrays by name."""
        rest = {
            "choices": self._forecasting.snapshot(),
            "ledger": self.episodes.ledger.model_dump(mode="json"),
            "pending": sorted(self._pending),
            "budget": [self._step, self._left],
            "clock": self._ended_series.snapshot(),
        }
        text = orjson.dumps(rest, option=orjson.OPT_NON_STR_KEYS)
        parts = {
            "deriver": self._deriver.snapshot(),
            "nearness": self._nearness.snapshot(),
            "coverage": self._coverage.snapshot(),
        }
        found = {f"{part}.{n}": a for part, arrays in parts.items() for n, a in arrays.items()}
        return self._watched.snapshot() | found | {"rest": np.frombuffer(text, dtype=np.uint8)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take a snapshot; ValueError or KeyError if it does not fit these settings."""
        self._deriver = Deriver.restored(part_of(arrays, "deriver."), MAX_SERIES)
        self._watched.restore(arrays)
        size = len(self._watched)
        self._nearness.restore(part_of(arrays, "nearness."), size)
        self._coverage.restore(part_of(arrays, "coverage."), size)
        rest = orjson.loads(arrays["rest"].tobytes())
        self._forecasting.restore(rest["choices"])
        self.episodes.restore(rest["ledger"])
        self._pending = set(rest["pending"])
        self._step, self._left = rest["budget"]
        # Snapshots of before have no clock.
        self._ended_series.restore(rest.get("clock", self._ended_series.snapshot()))
