"""One partition's predictions: batches of samples in, predictions and their ends out.

Deterministic: what is forecast when follows from the samples' own times, ids from the series and
the step at which an episode began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray

from services.predictor.behaviour import Kind, behaviour_of, level_after_clean_up
from services.predictor.crossing import crossing_of
from services.predictor.episodes import Episodes, Prediction, Subject
from services.predictor.forecasters import CannotForecast, Forecast
from services.predictor.forecasters.base import Floats, filled
from services.predictor.history import Histories
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings
from shared.columns import Array, Column, Columns
from shared.contracts import Message
from shared.contracts.alerts import SeriesRef
from shared.derivation import Deriver
from shared.items import ITEMS
from shared.observe import FORECASTS
from shared.samples import SampleBatch, labels_from
from shared.series import SeriesIndex

_NEVER = np.iinfo(np.int64).min
_MAX_GAP_SHARE = 0.5


class Engine:
    """All series of one partition whose item has an alarm threshold."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._limits: dict[str, float | None] = {
            name: settings.thresholds.get(name, item.threshold) for name, item in ITEMS.items()
        }
        self._limits.update(settings.thresholds)
        self._deriver = Deriver()
        self._series = SeriesIndex()
        self._histories = Histories(settings.points, settings.resolution_ms)
        self._made = Columns([Column("step", np.int64, _NEVER), Column("beyond", np.bool_)])
        self._choices: dict[int, Choice] = {}
        self._selector = Selector(settings)
        self.episodes = Episodes(settings)
        self._pending: set[int] = set()
        self._step, self._left = _NEVER, 0

    @property
    def lag(self) -> int:
        """Series whose forecast is overdue because the budget was used up."""
        return len(self._pending)

    def process(self, samples: SampleBatch) -> list[Message]:
        """Take a batch in; forecast what has closed a step, oldest first, within the budget."""
        points = self._deriver.apply(samples)
        watched = np.array([self._limits.get(i) is not None for i in points.items], dtype=np.bool_)
        if not len(points) or not watched.any():
            return []
        points = points.select(watched[points.item_code])
        rows = self._series.resolve(points)
        points, rows = points.select(rows >= 0), rows[rows >= 0]
        self._made.grow(len(self._series))
        closed = self._histories.add(rows, points.time_ms, points.value)
        events = [event for row in closed.tolist() for event in self._judge(row)]
        self._pending.update(closed.tolist())
        return [*events, *self._forecast(self._take(closed))]

    def _take(self, closed: NDArray[np.int64]) -> list[int]:
        """Whose turn it is, taken from the pending."""
        opened = self._histories.state["open"]
        if len(closed) and (newest := int(opened[closed].max())) > self._step:
            self._step, self._left = newest, self._settings.budget_per_step
        made = self._made["step"]
        turn = sorted(self._pending, key=lambda row: (int(made[row]), row))[: self._left]
        self._left -= len(turn)
        self._pending.difference_update(turn)
        made[turn] = opened[turn]
        return turn

    def _judge(self, row: int) -> Iterator[Message]:
        """Did the closed step bring the alarm, or let a prediction's time pass?"""
        history = self._histories.of(row)
        subject = self._subject(row, history)
        beyond = subject.beyond
        began = beyond and not self._made["beyond"][row]
        self._made["beyond"][row] = beyond
        # An alarm in the very first step began before we looked.
        if began and len(history) > 1:
            yield from self.episodes.alarm_came(row, subject)
        elif not beyond:
            yield from self.episodes.time_passed(row, subject)

    def _forecast(self, rows: list[int]) -> Iterator[Message]:
        ready = []
        for row in rows:
            history = self._histories.of(row)
            subject = self._subject(row, history)
            if subject.beyond or np.isfinite(history).sum() < self._settings.least_points:
                continue
            levelled, clean_ups = level_after_clean_up(
                history, subject.threshold, above=subject.above
            )
            if not isinstance(filled(levelled, _MAX_GAP_SHARE), CannotForecast):
                ready.append((row, subject, levelled, clean_ups))
        self._choose([(row, levelled) for row, _, levelled, _ in ready])
        ready = [one for one in ready if one[0] in self._choices]
        choices = [self._choices[row] for row, *_ in ready]
        made = self._selector.forecast(choices, [levelled for _, _, levelled, _ in ready])
        for (row, subject, levelled, clean_ups), choice, found in zip(
            ready, choices, made, strict=True
        ):
            if not isinstance(found, Forecast):
                continue
            FORECASTS.labels(choice.forecaster).inc()
            crossing = crossing_of(
                float(levelled[np.isfinite(levelled)][-1]), found, subject.threshold,
                above=subject.above,
            )  # fmt: skip
            prediction = (
                Prediction(crossing, found, choice.forecaster, choice.why) if crossing else None
            )
            yield from self.episodes.forecast_made(row, subject, prediction, clean_ups)

    def _choose(self, series: list[tuple[int, Floats]]) -> None:
        """New choices where there is none or it is old."""
        opened = self._histories.state["open"]
        old = [
            (row, history)
            for row, history in series
            if row not in self._choices
            or opened[row] - self._choices[row].step >= self._settings.reselect_steps
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
        }
        found = {f"{part}.{n}": a for part, arrays in parts.items() for n, a in arrays.items()}
        return found | {"rest": np.frombuffer(text, dtype=np.uint8)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take a snapshot; ValueError or KeyError if it does not fit these settings."""
        self._deriver = Deriver.restored(_part(arrays, "deriver."))
        self._series = SeriesIndex.restored(_part(arrays, "series."))
        history = _part(arrays, "history.")
        self._histories.restore(history, len(history["open"]))
        self._made.restore(_part(arrays, "made."), len(self._series))
        rest = orjson.loads(arrays["rest"].tobytes())
        self._choices = {int(r): Choice.model_validate(c) for r, c in rest["choices"].items()}
        self.episodes.restore(rest["ledger"])
        self._pending = set(rest["pending"])
        self._step, self._left = rest["budget"]


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
