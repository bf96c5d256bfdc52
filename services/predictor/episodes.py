"""Predictions as episodes: an event at the start, after large changes, and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from services.predictor.crossing import Crossing
from services.predictor.forecasters import Forecast
from services.predictor.forecasters.base import Floats
from services.predictor.ledger import Episode, Ledger, Outcome
from services.predictor.passage import Passage
from services.predictor.settings import EngineSettings
from shared.changes import changed
from shared.contracts import AlarmPredicted, Message, PredictionWithdrawn
from shared.contracts.alerts import BandPoint, Point, SeriesRef, curve_of
from shared.contracts.message import deterministic_id
from shared.items import family_of
from shared.observe import MISSED_ALARMS, PREDICTIONS

_OUTCOME_NAMES: dict[Outcome, Literal["came_true", "did_not_come", "averted", "series_ended"]] = {
    "hit": "came_true",
    "false": "did_not_come",
    "averted": "averted",
    "ended": "series_ended",
}
"""The ledger's words in a message's."""
_HOUR_S = 3600.0
_MUCH_STEPS = 2
_MUCH_SHARE = 0.25


@dataclass(frozen=True)
class Subject:
    """The present state of a series."""

    series: SeriesRef
    threshold: float
    above: bool
    time_ms: int
    value: float
    open_step: int
    history: Floats

    @property
    def beyond(self) -> bool:
        """True if the newest value is on the alarm's side of the threshold already."""
        return self.value >= self.threshold if self.above else self.value <= self.threshold


@dataclass(frozen=True)
class Prediction:
    """A forecast that crosses the threshold."""

    crossing: Crossing
    forecast: Forecast
    forecaster: str
    why: dict[str, str]
    passage: Passage

    @property
    def point(self) -> float:
        """The one time that is named, in steps ahead: the mean's crossing, in the likely range."""
        early, late = self.passage.likely
        return min(max(self.crossing.mean, early), late)


class Episodes:
    """All open predictions of a partition, and the ledger of the past ones."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self.ledger = Ledger()

    def restore(self, ledger: object) -> None:
        """Take the ledger of a snapshot."""
        self.ledger = Ledger.model_validate(ledger)

    def alarm_came(self, row: int, subject: Subject) -> Iterator[Message]:
        """The value has reached the threshold."""
        if row in self.ledger.episodes:
            yield self._end(row, subject, "hit")
        else:
            self.ledger.missed(subject.series.item)
            MISSED_ALARMS.inc()

    def time_passed(self, row: int, subject: Subject) -> Iterator[Message]:
        """A step without an alarm."""
        episode = self.ledger.episodes.get(row)
        if episode is not None and subject.time_ms > episode.deadline_ms:
            yield self._end(row, subject, "false")

    def series_ended(self, row: int, subject: Subject, now_ms: int) -> PredictionWithdrawn:
        """The series sends nothing any more, so nothing is known of what is to come."""
        withdrawn = self._end(row, subject, "ended")
        return changed(withdrawn, time_ms=now_ms, last_sample_ms=subject.time_ms)

    def forecast_made(
        self, row: int, subject: Subject, prediction: Prediction | None, clean_ups: int
    ) -> Iterator[Message]:
        """Draw the consequences of a new forecast for the series' episode."""
        episode = self.ledger.episodes.get(row)
        if prediction is not None:
            yield from self._crosses(row, subject, prediction, episode, clean_ups)
        elif episode is not None:
            episode.without += 1
            cleaned = clean_ups > episode.clean_ups
            if cleaned or episode.without >= self._settings.withdraw_after:
                yield self._end(row, subject, "averted" if cleaned else "false")

    def _crosses(
        self, row: int, subject: Subject, found: Prediction, episode: Episode | None, clean_ups: int
    ) -> Iterator[Message]:
        if subject.beyond:  # the alarm is here, and the detector's to report
            return
        crossing_ms = self._to_come(subject, found.point)
        if episode is None:
            started = subject.open_step * self._settings.resolution_ms
            latest = self._latest(subject, found)
            ahead = len(found.forecast.mean) * self._settings.resolution_ms
            episode = Episode(
                event_id=deterministic_id("prediction", subject.series.text(), started),
                opened_ms=subject.time_ms,
                crossing_ms=crossing_ms,
                deadline_ms=(crossing_ms if latest is None else latest) + ahead,
                clean_ups=clean_ups,
            )
            self.ledger.open(row, subject.series.item, episode)
            PREDICTIONS.labels("opened").inc()
            yield self._event(subject, found, episode)
            return
        episode.without = 0
        moved = abs(crossing_ms - episode.crossing_ms)
        remaining = max(0, episode.crossing_ms - subject.time_ms)
        much = max(_MUCH_STEPS * self._settings.resolution_ms, _MUCH_SHARE * remaining)
        if moved > much:
            episode.crossing_ms = crossing_ms
            episode.revision += 1
            yield self._event(subject, found, episode)

    def _end(self, row: int, subject: Subject, outcome: Outcome) -> PredictionWithdrawn:
        episode = self.ledger.close(row, subject.series.item, outcome, subject.time_ms)
        outcome_name = _OUTCOME_NAMES[outcome]
        PREDICTIONS.labels(outcome_name).inc()
        return PredictionWithdrawn(
            event_id=episode.event_id,
            series=subject.series,
            family=family_of(subject.series.item),
            time_ms=subject.time_ms,
            value=subject.value,
            outcome=outcome_name,
        )

    def _at(self, subject: Subject, steps: float) -> int:
        """Time ``steps`` after the middle of the last closed step."""
        return round((subject.open_step - 0.5 + steps) * self._settings.resolution_ms)

    def _to_come(self, subject: Subject, steps: float) -> int:
        """The same, but not before the newest sample, which has not reached the threshold."""
        return max(subject.time_ms, self._at(subject, steps))

    def _latest(self, subject: Subject, found: Prediction) -> int | None:
        latest = found.crossing.latest
        return None if latest is None else self._to_come(subject, max(latest, found.point))

    def _event(self, subject: Subject, found: Prediction, episode: Episode) -> AlarmPredicted:
        crossing_ms = self._to_come(subject, found.point)
        latest_ms = self._latest(subject, found)
        return AlarmPredicted(
            event_id=episode.event_id,
            revision=episode.revision,
            series=subject.series,
            family=family_of(subject.series.item),
            time_ms=subject.time_ms,
            value=subject.value,
            threshold=subject.threshold,
            above=subject.above,
            crossing_ms=crossing_ms,
            earliest_ms=self._to_come(subject, min(found.crossing.earliest, found.point)),
            latest_ms=latest_ms,
            predicted_value=float(found.forecast.mean[-1]),
            probability=found.passage.probability,
            likely_from_ms=self._to_come(subject, found.passage.likely[0]),
            likely_until_ms=self._to_come(subject, found.passage.likely[1]),
            forecaster=found.forecaster,
            why=found.why | found.forecast.why,
            sentence=self._sentence(subject, found, crossing_ms),
            recent=self._recent(subject),
            forecast=tuple(
                BandPoint(time_ms=self._at(subject, k), mean=m, lower=low, upper=up)
                for k, (m, low, up) in enumerate(
                    zip(
                        found.forecast.mean.tolist(),
                        found.forecast.lower.tolist(),
                        found.forecast.upper.tolist(),
                        strict=True,
                    ),
                    start=1,
                )
            ),
        )

    def _recent(self, subject: Subject) -> tuple[Point, ...]:
        plotted = min(self._settings.plotted, len(subject.history))
        history = subject.history[len(subject.history) - plotted :]
        known = np.flatnonzero(np.isfinite(history))
        resolution = self._settings.resolution_ms
        steps = subject.open_step - len(history) + known
        times = steps * resolution + resolution // 2
        return curve_of(times.tolist(), history[known].tolist())

    def _sentence(self, subject: Subject, found: Prediction, crossing_ms: int) -> str:
        side = "reach" if subject.above else "fall to"
        early, late = (_clock(self._to_come(subject, s)) for s in found.passage.likely)
        return (
            f"{subject.series.text()} is at {subject.value:.4g} and will {side} "
            f"{subject.threshold:.4g} at about {_clock(crossing_ms)}, with a probability of "
            f"{found.passage.probability:.0%} within {self._ahead(found)}, most likely between "
            f"{early} and {late} (forecaster: {found.forecaster})"
        )

    def _ahead(self, found: Prediction) -> str:
        seconds = len(found.forecast.mean) * self._settings.resolution_s
        hours = seconds / _HOUR_S
        return f"{hours:.3g} hours" if hours >= 1 else f"{seconds:.3g} seconds"


def _clock(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
