"""One partition's predictions: batches of samples in, predictions and their ends out.

Deterministic: what is forecast when follows from the samples' own times, ids from the series and
the step at which an episode began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from services.predictor.behaviour import (
    CleanUps,
    Kind,
    after_clean_ups,
    behaviour_of,
    clean_ups_of,
)
from services.predictor.coverage import Coverage
from services.predictor.crossing import Crossing, crossing_of
from services.predictor.curves import Foreseen, curve_of
from services.predictor.episodes import Episodes, Prediction, Subject
from services.predictor.forecasters import CannotForecast, Forecast
from services.predictor.forecasters.base import Floats, filled
from services.predictor.history import Histories
from services.predictor.nearness import Nearness
from services.predictor.passage import Passage, passage_of
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings
from shared.columns import Array, Column, Columns, part_of
from shared.contracts import Curve, Message
from shared.contracts.alerts import SeriesRef
from shared.derivation import Deriver
from shared.items import ITEMS, Behaviour
from shared.observe import FORECASTS
from shared.samples import SampleBatch, labels_from, labels_text
from shared.series import SeriesIndex

_NEVER = np.iinfo(np.int64).min
_MAX_GAP_SHARE = 0.5


@dataclass(frozen=True)
class _Ready:
    """A series whose turn it is."""

    row: int
    subject: Subject
    clean_ups: CleanUps


class Engine:
    """All series of one partition whose item has an alarm threshold."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._limits: dict[str, float | None] = {
            name: settings.thresholds.get(name, item.threshold)
            for name, item in ITEMS.items()
            if item.predicted
        }
        self._limits.update(settings.thresholds)
        self._deriver = Deriver()
        self._series = SeriesIndex()
        self._histories = Histories(settings.points, settings.resolution_ms)
        self._made = Columns(
            [
                Column("step", np.int64, _NEVER),
                Column("rest", np.int64, _NEVER),
                Column("beyond", np.bool_),
                Column("sign", np.float64, 1.0),
                Column("limit", np.float64, np.inf),
                Column("item", np.int32),
            ]
        )
        self._items: list[str] = []
        self._nearness = Nearness(settings.horizon)
        self._coverage = Coverage(settings.horizon)
        self._choices: dict[int, Choice] = {}
        self._selector = Selector(settings)
        self.episodes = Episodes(settings)
        self._pending: set[int] = set()
        self._step, self._left = _NEVER, 0

    @property
    def lag(self) -> int:
        """Series whose forecast is overdue because the budget was used up."""
        return len(self._pending)

    @property
    def series(self) -> int:
        """Series known."""
        return len(self._series)

    def rule(self, item: str) -> str:
        """The alarm rule of an item, e.g. ``>= 90``."""
        known = ITEMS.get(item)
        side = ">=" if known is None or known.above else "<="
        return f"{side} {self._limits[item]:g}"

    def process(self, samples: SampleBatch) -> list[Message]:
        """Take a batch in; forecast what has closed a step, oldest first, within the budget."""
        points = self._deriver.apply(samples)
        watched = np.array([self._limits.get(i) is not None for i in points.items], dtype=np.bool_)
        if not len(points) or not watched.any():
            return []
        points = points.select(watched[points.item_code])
        rows = self._series.resolve(points)
        points, rows = points.select(rows >= 0), rows[rows >= 0]
        self._register()
        closed = self._histories.add(rows, points.time_ms, points.value)
        if not len(closed):
            return []
        surprised, events = self._judge(closed)
        limits = self._made["sign"][closed] * self._made["limit"][closed]
        near = self._nearness.near(closed, limits)
        episodes = self.episodes.ledger.episodes
        if episodes:
            near |= np.isin(closed, np.fromiter(episodes, dtype=np.int64))
        # A series that was forecast rests, unless it leaves that forecast.
        near &= (self._histories.state["open"][closed] >= self._made["rest"][closed]) | surprised
        # Long enough, and not there already.
        first, opened = (self._histories.state[name][closed] for name in ("first", "open"))
        near &= (opened - first >= self._settings.min_points) & ~self._made["beyond"][closed]
        self._pending.update(closed[near].tolist())
        self._pending.difference_update(closed[~near].tolist())
        return [*events, *self._forecast(self._take(closed))]

    def _register(self) -> None:
        start = self._made.size
        for part in (self._made, self._nearness.state, self._coverage.state):
            part.grow(len(self._series))
        self._name(range(start, len(self._series)))

    def _name(self, rows: range) -> None:
        """Set the rows' thresholds by their items: threshold, its side, the item's number."""
        for row in rows:
            item = self._series.names[row][1]
            if item not in self._items:
                self._items.append(item)
            known, limit = ITEMS.get(item), self._limits[item]
            assert limit is not None  # noqa: S101 - process() takes only items with one
            self._made["item"][row] = self._items.index(item)
            self._made["limit"][row] = limit
            self._made["sign"][row] = 1.0 if known is None or known.above else -1.0

    def _take(self, closed: NDArray[np.int64]) -> list[int]:
        """Whose turn it is, taken from the pending."""
        opened = self._histories.state["open"]
        if (newest := int(opened[closed].max())) > self._step:
            self._step, self._left = newest, self._settings.budget_per_step
        made = self._made["step"]
        turn = sorted(self._pending, key=lambda row: (int(made[row]), row))[: self._left]
        self._left -= len(turn)
        self._pending.difference_update(turn)
        made[turn] = opened[turn]
        return turn

    def _judge(self, closed: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[Message]]:
        """Did the closed steps bring alarms, or let predictions' times pass?

        Also tells which of them no forecast's interval held.
        """
        state, made = self._histories.state, self._made
        values, last_step = self._histories.closed(closed), state["open"][closed] - 1
        known, inside = self._coverage.judge(closed, last_step, values)
        self._count_coverage(made["item"][closed[known]], inside)
        signed = made["sign"][closed] * values
        finite = np.isfinite(signed)
        self._nearness.update(closed[finite], signed[finite])
        beyond = signed >= made["sign"][closed] * made["limit"][closed]
        decided, chances, came = self._coverage.came(closed, last_step, beyond)
        self._count_chances(made["item"][closed[decided]], chances, came)
        # An alarm in the very first step began before we looked.
        began = beyond & ~made["beyond"][closed] & (last_step > state["first"][closed])
        made["beyond"][closed] = beyond
        waiting = ~beyond
        if episodes := self.episodes.ledger.episodes:
            waiting &= np.isin(closed, np.fromiter(episodes, dtype=np.int64))
        else:
            waiting[:] = False
        events: list[Message] = []
        for at in np.flatnonzero(began | waiting):
            row = int(closed[at])
            subject = self._subject(row, self._histories.of(row))
            if began[at]:
                events += self.episodes.alarm_came(row, subject)
            else:
                events += self.episodes.time_passed(row, subject)
        surprised = np.zeros(len(closed), dtype=np.bool_)
        surprised[known] = ~inside
        return surprised, events

    def _count_coverage(self, items: NDArray[np.int32], inside: NDArray[np.bool_]) -> None:
        size = len(self._items)
        judged = np.bincount(items, minlength=size)
        held = np.bincount(items, inside, minlength=size)
        for code in np.flatnonzero(judged):
            score = self.episodes.ledger.score(self._items[code])
            score.judged += int(judged[code])
            score.inside += int(held[code])

    def _count_chances(
        self, items: NDArray[np.int32], chances: Floats, came: NDArray[np.bool_]
    ) -> None:
        for code in np.unique(items):
            own, score = items == code, self.episodes.ledger.score(self._items[code])
            score.chances += int(own.sum())
            score.came += int(came[own].sum())
            score.squares += float(((chances[own] - came[own]) ** 2).sum())

    def _forecast(self, rows: list[int]) -> Iterator[Message]:
        ready = [one for one in map(self._ready, rows) if one is not None]
        self._choose([(one.row, one.clean_ups.levelled) for one in ready])
        ready = [one for one in ready if one.row in self._choices]
        choices = [self._choices[one.row] for one in ready]
        made = self._selector.forecast(choices, [one.clean_ups.levelled for one in ready])
        for one, choice, found in zip(ready, choices, made, strict=True):
            if isinstance(found, Forecast):
                FORECASTS.labels(choice.forecaster).inc()
                prediction = self._prediction(one, choice, found)
                rest = self._rest(one.row, prediction)
                self._made["rest"][one.row] = one.subject.open_step + rest
                yield from self.episodes.forecast_made(
                    one.row, one.subject, prediction, one.clean_ups.count
                )

    def _ready(self, row: int) -> _Ready | None:
        """A series that has enough history to be forecast."""
        history = self._histories.of(row)
        if np.isfinite(history).sum() < self._settings.min_points:
            return None
        subject = self._subject(row, history)
        clean_ups = clean_ups_of(history, subject.threshold, above=subject.above)
        if isinstance(filled(clean_ups.levelled, _MAX_GAP_SHARE), CannotForecast):
            return None
        return _Ready(row, subject, clean_ups)

    def curve(self, series: SeriesRef) -> Curve | None:
        """The history of a series and what would be forecast now; it changes nothing."""
        row = self._series.find(series.host, series.item, labels_text(series.labels))
        if row is None:
            return None
        subject = self._subject(row, self._histories.of(row))
        return curve_of(subject, self._foreseen(row), self._settings)

    def _foreseen(self, row: int) -> Foreseen | None:
        one = self._ready(row)
        if one is None:
            return None
        levelled = one.clean_ups.levelled
        choice: Choice | CannotForecast | None = self._choices.get(row)
        if choice is None:
            kind, step = self._kind(row, levelled), one.subject.open_step
            (choice,) = self._selector.choose([levelled], [kind], [step])
        if not isinstance(choice, Choice):
            return None
        (found,) = self._selector.forecast([choice], [levelled])
        if not isinstance(found, Forecast):
            return None
        found = after_clean_ups(found, one.clean_ups, above=one.subject.above)
        return Foreseen(found, self._passage(one, choice, found).probability, choice.why)

    def _rest(self, row: int, prediction: Prediction | None) -> int:
        """Steps until the series' next forecast; none where a prediction is in doubt."""
        if prediction:
            return self._settings.revisit_steps
        return 0 if row in self.episodes.ledger.episodes else self._settings.rest_steps

    def _prediction(self, one: _Ready, choice: Choice, found: Forecast) -> Prediction | None:
        """The alarm that a forecast means, if it means one; the forecast is kept to be judged."""
        subject, raw = one.subject, found
        found = after_clean_ups(found, one.clean_ups, above=subject.above)
        levelled = one.clean_ups.levelled
        crossing = crossing_of(
            float(levelled[np.isfinite(levelled)][-1]),
            found,
            subject.threshold,
            above=subject.above,
        )
        kept = not self._coverage.waits(one.row, subject.open_step)
        passage = None
        if kept or crossing is not None or self._may_cross(found, subject):
            passage = self._passage(one, choice, found)
            if kept:
                self._coverage.keep(one.row, subject.open_step, raw, passage.probability)
        if passage is None:
            return None
        least = self._settings.alarm_probability
        if crossing is None and least is not None and passage.probability >= least:
            early, late = passage.likely
            crossing = Crossing(passage.quantile(0.5), early, late)
        if crossing is None:
            return None
        why = choice.why | {f"probability_{n}": f"{p:.2f}" for n, p in passage.parts.items()}
        return Prediction(crossing, found, choice.forecaster, why, passage)

    def _passage(self, one: _Ready, choice: Choice, found: Forecast) -> Passage:
        rhythm = one.clean_ups.next_in is not None
        # Where clean-ups come in a rhythm, what has happened before includes them.
        past = one.subject.history if rhythm else one.clean_ups.levelled
        history = filled(past, _MAX_GAP_SHARE)
        assert not isinstance(history, CannotForecast)  # noqa: S101 - _forecast has checked it
        return passage_of(
            history,
            found,
            one.subject.threshold,
            above=one.subject.above,
            stable=choice.behaviour is Behaviour.STABLE,
            drifts=not rhythm,
        )

    def _may_cross(self, found: Forecast, subject: Subject) -> bool:
        """Whether it is worth asking how likely a crossing is that the mean does not make."""
        if self._settings.alarm_probability is None:
            return False
        # A path reaches it at most twice as likely as it is beyond it at the likeliest step: what
        # stays a deviation clear throughout stays below a third.
        if subject.above:
            return bool((found.mean + (found.upper - found.mean) / 2 >= subject.threshold).any())
        return bool((found.mean - (found.mean - found.lower) / 2 <= subject.threshold).any())

    def _choose(self, series: list[tuple[int, Floats]]) -> None:
        """New choices where there is none or it is old."""
        opened = self._histories.state["open"]
        old = [
            (row, history)
            for row, history in series
            if row not in self._choices
            or opened[row] - self._choices[row].step
            >= min(
                self._settings.reselect_steps, max(self._settings.season, self._choices[row].points)
            )
        ]
        kinds = [self._kind(row, history) for row, history in old]
        steps = [int(opened[row]) for row, _ in old]
        found = self._selector.choose([history for _, history in old], kinds, steps)
        for (row, _), choice in zip(old, found, strict=True):
            if isinstance(choice, Choice):
                self._choices[row] = choice

    def _kind(self, row: int, history: Floats) -> Kind:
        item = self._series.names[row][1]
        values = filled(history, _MAX_GAP_SHARE)
        assert not isinstance(values, CannotForecast)  # noqa: S101 - _forecast has checked it
        override = self._settings.behaviours.get(item)
        return behaviour_of(item, values, self._settings.season, override)

    def _subject(self, row: int, history: Floats) -> Subject:
        host, item, labels = self._series.names[row]
        state, known = self._histories.state, ITEMS.get(item)
        threshold = self._limits[item]
        assert threshold is not None  # noqa: S101 - process() takes only items with one
        return Subject(
            series=SeriesRef(host=host, item=item, labels=labels_from(labels)),
            threshold=threshold,
            above=known.above if known else True,
            time_ms=int(state["last_ms"][row]),
            value=float(state["last"][row]),
            open_step=int(state["open"][row]),
            history=history,
        )

    def snapshot(self) -> dict[str, Array]:
        """Everything, as arrays by name."""
        rest = {
            "choices": {str(row): c.model_dump() for row, c in self._choices.items()},
            "ledger": self.episodes.ledger.model_dump(mode="json"),
            "pending": sorted(self._pending),
            "budget": [self._step, self._left],
        }
        text = orjson.dumps(rest, option=orjson.OPT_NON_STR_KEYS)
        parts = {
            "deriver": self._deriver.snapshot(),
            "series": self._series.snapshot(),
            "history": self._histories.snapshot(),
            "made": self._made.snapshot(),
            "nearness": self._nearness.snapshot(),
            "coverage": self._coverage.snapshot(),
        }
        found = {f"{part}.{n}": a for part, arrays in parts.items() for n, a in arrays.items()}
        return found | {"rest": np.frombuffer(text, dtype=np.uint8)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take a snapshot; ValueError or KeyError if it does not fit these settings."""
        self._deriver = Deriver.restored(part_of(arrays, "deriver."))
        self._series = SeriesIndex.restored(part_of(arrays, "series."))
        history = part_of(arrays, "history.")
        self._histories.restore(history, len(history["open"]))
        size = len(self._series)
        self._made.restore(part_of(arrays, "made."), size)
        self._nearness.restore(part_of(arrays, "nearness."), size)
        self._coverage.restore(part_of(arrays, "coverage."), size)
        # Thresholds may have been set anew since.
        self._items.clear()
        self._name(range(size))
        rest = orjson.loads(arrays["rest"].tobytes())
        # A choice from before there were weights is made anew.
        kept = {int(r): c for r, c in rest["choices"].items() if "weights" in c}
        self._choices = {row: Choice.model_validate(c) for row, c in kept.items()}
        self.episodes.restore(rest["ledger"])
        self._pending = set(rest["pending"])
        self._step, self._left = rest["budget"]
