"""Runs a replay: the engines' events tick by tick, judged by the policy in virtual time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

from replay.partitions import Emitted, Kept, run
from replay.shares import Recording
from services.detector.settings import EngineSettings as DetectorSettings
from services.healer.model.decision import Facts
from services.healer.model.policy import Policy
from services.predictor.ledger import Score
from services.predictor.settings import EngineSettings as PredictorSettings
from shared.contracts import AlarmPredicted, AnomalyDetected, Message, PredictionWithdrawn
from shared.contracts.alerts import SeriesRef
from shared.contracts.healing import Level
from shared.samples import SampleBatch

_THRESHOLD = "threshold"
_ASKS_PEOPLE = (Level.SUGGEST, Level.APPROVE)
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_WEEK_MS = 7 * _DAY_MS
_SAMPLES_A_PROCESS = 500_000
"""The number of samples whose replay takes longer than starting a process."""


@dataclass
class ItemOutcome:
    """The outcome of one item's alarms and predictions."""

    alarms: int = 0
    """The number of alarms that the detector raised."""
    announced: int = 0
    """The number of these alarms for which a prediction was open."""
    handled: int = 0
    """The number of these on which the policy would have let a machine act in time."""
    mailed: int = 0
    """The number of these of which a person would have been mailed in time."""
    lead_ms: int = 0
    """Sum over the announced ones."""
    anomalies: int = 0
    """Episodes that left normal without reaching the threshold."""

    def plus(self, other: ItemOutcome) -> ItemOutcome:
        """The counts of both together."""
        names = [each.name for each in fields(self)]
        return ItemOutcome(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass
class Outcome:
    """A replay's result."""

    machines: int = 0
    series: int = 0
    samples: int = 0
    begin_ms: int = 0
    end_ms: int = 0
    items: dict[str, ItemOutcome] = field(default_factory=dict)
    ledger: dict[str, Score] = field(default_factory=dict)

    @property
    def machine_weeks(self) -> float:
        """Machines times the weeks that were replayed."""
        return self.machines * (self.end_ms - self.begin_ms) / _WEEK_MS


@dataclass(frozen=True)
class _Open:
    """A prediction that has not ended."""

    event_id: str
    since_ms: int
    level: Level


@dataclass(frozen=True)
class _Run:
    """An action that the policy let a machine take."""

    time_ms: int
    host: str
    series: str


class Course:
    """One replay; deterministic: the same samples and settings give the same outcome."""

    def __init__(
        self, detector: DetectorSettings, predictor: PredictorSettings, policy: Policy
    ) -> None:
        self.settings = detector, predictor
        self._policy = policy
        self._open: dict[str, _Open] = {}
        self._ended: dict[str, tuple[int, _Open]] = {}
        self._runs: list[_Run] = []
        self.outcome = Outcome()

    def run(
        self, samples: SampleBatch, tick_ms: int, *, processes: int = 1, texts: bool = False
    ) -> Iterator[Emitted]:
        """Every event, as live, in virtual time; ``outcome`` is whole when it has ended.

        ``processes``: so many partitions work side by side; the events are the same.
        """
        found = Recording.of(samples, tick_ms, self.settings)
        steps = run(samples, tick_ms, self.settings, processes=processes, texts=texts)
        return self.follow(found, steps)

    def follow(
        self, recording: Recording, steps: Iterable[list[Emitted] | list[Kept]]
    ) -> Iterator[Emitted]:
        """Every event of ``steps``; ``outcome`` is whole when they have ended."""
        out = self.outcome
        out.samples, out.machines = recording.samples, recording.machines
        out.begin_ms, out.end_ms = recording.begin_ms, recording.end_ms
        for step in steps:
            for one in step:
                if isinstance(one, Emitted):
                    self._note(one.event)
                    yield one
                else:
                    out.series += one.series
                    for item, score in one.scores.items():
                        out.ledger[item] = out.ledger.get(item, Score()).plus(score)

    def _item(self, name: str) -> ItemOutcome:
        return self.outcome.items.setdefault(name, ItemOutcome())

    def _note(self, event: Message) -> None:
        match event:
            case AlarmPredicted(revision=1):
                level = self._decide(event)
                key = event.series.text()
                self._open[key] = _Open(event.event_id, event.time_ms, level)
            case PredictionWithdrawn():
                key = event.series.text()
                if (ended := self._open.pop(key, None)) and event.outcome == "came_true":
                    self._ended[key] = event.time_ms, ended
            case AnomalyDetected():
                if any(vote.detector == _THRESHOLD for vote in event.votes):
                    self._alarm(event)
                else:
                    self._item(event.series.item).anomalies += 1
            case _:
                pass

    def _decide(self, event: AlarmPredicted) -> Level:
        """The policy's decision, with what it has let run before in virtual time."""
        host, key, now = event.series.host, event.series.text(), event.time_ms
        self._runs = [run for run in self._runs if now - run.time_ms < _DAY_MS]
        same = [run for run in self._runs if run.series == key]
        lately = [run for run in self._runs if now - run.time_ms < _HOUR_MS]
        facts = Facts(
            now=datetime.fromtimestamp(now / 1000, UTC),
            seconds_since_same=min(((now - run.time_ms) / 1000 for run in same), default=None),
            attempts=len(same),
            runs_on_host=sum(run.host == host for run in lately),
            runs=len(lately),
            probability=event.probability,
        )
        level = self._policy.decide(event.series, event.severity, facts).level
        if level is Level.AUTOMATIC:
            self._runs.append(_Run(now, host, key))
        return level

    def _alarm(self, event: AnomalyDetected) -> None:
        found, key = self._item(event.series.item), event.series.text()
        found.alarms += 1
        announced = self._open.get(key) or self._came_true(event.series, event.time_ms)
        if announced is None or announced.since_ms >= event.time_ms:
            return
        found.announced += 1
        found.lead_ms += event.time_ms - announced.since_ms
        found.handled += announced.level is Level.AUTOMATIC
        found.mailed += announced.level in _ASKS_PEOPLE

    def _came_true(self, series: SeriesRef, time_ms: int) -> _Open | None:
        """The prediction that this alarm ended: once, and only if it was not long ago."""
        ended = self._ended.pop(series.text(), None)
        if ended is None or time_ms - ended[0] > _DAY_MS:
            return None
        return ended[1]


def counts(events: Iterator[Emitted]) -> Counter[str]:
    """Run to the end; how many events of each type there were."""
    return Counter(each.event.TYPE for each in events)


def processes_for(samples: SampleBatch) -> int:
    """The number of processes: one for each core, if there is enough for each to do."""
    return max(1, min(os.cpu_count() or 1, len(samples) // _SAMPLES_A_PROCESS))
