"""Forecasts the watched series, and finds the forecasts that mean an alarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from services.predictor.behaviour import CleanUps, after_clean_ups, clean_ups_of, possible
from services.predictor.coverage import Coverage
from services.predictor.crossing import Crossing, crossing_of
from services.predictor.curves import Foreseen
from services.predictor.episodes import Prediction, Subject
from services.predictor.forecasters import CannotForecast, Forecast
from services.predictor.forecasters.base import filled
from services.predictor.passage import Passage, passage_of
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings
from services.predictor.watched import MAX_GAP_SHARE, WatchedSeries, dense
from shared.items import Behaviour
from shared.observe import FORECASTS


@dataclass(frozen=True)
class Made:
    """A series that was forecast, and the alarm that its forecast means, if it means one."""

    row: int
    subject: Subject
    clean_ups: int
    prediction: Prediction | None


@dataclass(frozen=True)
class _Ready:
    """A series that has enough history to be forecast."""

    row: int
    subject: Subject
    clean_ups: CleanUps


class Forecasting:
    """The choice of forecasters for each series of a partition, and the forecasts by it."""

    def __init__(
        self, settings: EngineSettings, watched: WatchedSeries, coverage: Coverage
    ) -> None:
        self._settings = settings
        self._watched = watched
        self._coverage = coverage
        self._choices: dict[int, Choice] = {}
        self._selector = Selector(settings)

    def forecast(self, rows: list[int]) -> Iterator[Made]:
        """Forecast those of the rows that can be; the forecasts are kept to be judged."""
        ready = [one for one in map(self._ready, rows) if one is not None]
        self._choose(ready)
        ready = [one for one in ready if one.row in self._choices]
        choices = [self._choices[one.row] for one in ready]
        histories = [one.clean_ups.levelled for one in ready]
        horizons = [self._ahead(one) for one in ready]
        made = self._selector.forecast(choices, histories, horizons)
        for one, choice, found in zip(ready, choices, made, strict=True):
            if isinstance(found, Forecast):
                FORECASTS.labels(choice.forecaster).inc()
                prediction = self._prediction(one, choice, found)
                yield Made(one.row, one.subject, one.clean_ups.count, prediction)

    def foreseen(self, row: int) -> Foreseen | None:
        """The forecast that would be made of the row now, for a page; it changes nothing."""
        one = self._ready(row)
        if one is None:
            return None
        levelled, ahead = one.clean_ups.levelled, [self._ahead(one)]
        choice: Choice | CannotForecast | None = self._choices.get(row)
        if choice is None:
            kind, step = self._watched.kind(row, levelled), one.subject.open_step
            (choice,) = self._selector.choose([levelled], [kind], [step], ahead)
        if not isinstance(choice, Choice):
            return None
        (found,) = self._selector.forecast([choice], [levelled], ahead)
        if not isinstance(found, Forecast):
            return None
        found = after_clean_ups(found, one.clean_ups, above=one.subject.above)
        probability = self._passage(one, choice, found).probability
        return Foreseen(possible(found, one.subject.series.item), probability, choice.why)

    def keep(self, places: Mapping[int, int]) -> None:
        """Forget all rows but these, which get other numbers."""
        self._choices = {places[row]: c for row, c in self._choices.items() if row in places}

    def snapshot(self) -> dict[str, object]:
        """The choices, as JSON has them."""
        return {str(row): choice.model_dump() for row, choice in self._choices.items()}

    def restore(self, choices: Mapping[str, object]) -> None:
        """Take the choices of a snapshot; ValueError if one is none."""
        # A choice of a version that widened both sides alike, or had no weights, is made again.
        kept = {
            int(row): choice
            for row, choice in choices.items()
            if isinstance(choice, dict) and isinstance(choice.get("widening"), list)
        }
        self._choices = {row: Choice.model_validate(choice) for row, choice in kept.items()}

    def _ready(self, row: int) -> _Ready | None:
        subject = self._watched.subject(row)
        if np.isfinite(subject.history).sum() < self._settings.min_points:
            return None
        clean_ups = clean_ups_of(subject.history, subject.threshold, above=subject.above)
        if isinstance(filled(clean_ups.levelled, MAX_GAP_SHARE), CannotForecast):
            return None
        return _Ready(row, subject, clean_ups)

    def _ahead(self, one: _Ready) -> int:
        return self._watched.ahead(one.row, one.clean_ups.levelled)

    def _choose(self, series: list[_Ready]) -> None:
        """New choices where there is none or it is old."""
        old = [one for one in series if self._is_old(one)]
        histories = [one.clean_ups.levelled for one in old]
        kinds = [self._watched.kind(one.row, one.clean_ups.levelled) for one in old]
        steps = [one.subject.open_step for one in old]
        found = self._selector.choose(histories, kinds, steps, [self._ahead(one) for one in old])
        for one, choice in zip(old, found, strict=True):
            if isinstance(choice, Choice):
                self._choices[one.row] = choice

    def _is_old(self, one: _Ready) -> bool:
        choice = self._choices.get(one.row)
        if choice is None:
            return True
        lasts = min(self._settings.reselect_steps, max(self._settings.season, choice.points))
        return one.subject.open_step - choice.step >= lasts

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
        if not kept and crossing is None and not self._may_cross(found, subject):
            return None
        passage = self._passage(one, choice, found)
        if kept:
            chance = float(passage.reached[self._settings.horizon - 1])
            self._coverage.keep(one.row, subject.open_step, raw, chance)
        crossing = crossing or self._likely(passage)
        if crossing is None:
            return None
        why = choice.why | {f"probability_{n}": f"{p:.2f}" for n, p in passage.parts.items()}
        return Prediction(
            crossing, possible(found, subject.series.item), choice.forecaster, why, passage
        )

    def _likely(self, passage: Passage) -> Crossing | None:
        """The crossing that the mean does not make, where one is likely enough."""
        least = self._settings.alarm_probability
        if least is None or passage.probability < least:
            return None
        early, late = passage.likely
        return Crossing(passage.quantile(0.5), early, late)

    def _may_cross(self, found: Forecast, subject: Subject) -> bool:
        """Return whether the probability of a crossing is worth computing."""
        if self._settings.alarm_probability is None:
            return False
        # A path reaches it at most twice as likely as it is beyond it at the likeliest step: what
        # stays a deviation clear throughout stays below a third.
        if subject.above:
            return bool((found.mean + (found.upper - found.mean) / 2 >= subject.threshold).any())
        return bool((found.mean - (found.mean - found.lower) / 2 <= subject.threshold).any())

    def _passage(self, one: _Ready, choice: Choice, found: Forecast) -> Passage:
        rhythm = one.clean_ups.next_in is not None
        # Past crossings already include clean-ups that come in a rhythm.
        past = one.subject.history if rhythm else one.clean_ups.levelled
        return passage_of(
            dense(past),
            found,
            one.subject.threshold,
            above=one.subject.above,
            stable=choice.behaviour is Behaviour.STABLE,
            drifts=not rhythm,
            season=self._settings.season,
        )
