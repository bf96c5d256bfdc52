"""Turns verdicts into events: every vote with its numbers, and a sentence with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.detector.combination import PERIODIC, UNKNOWN
from services.detector.detectors import Detector, Tick, Votes
from services.detector.detectors.threshold import Threshold
from services.detector.liveness import Silence
from services.detector.notices import Changes, Notices
from services.detector.recent import Recent
from shared.columns import indices
from shared.contracts import AnomalyCleared, AnomalyDetected, Message
from shared.contracts.alerts import (
    AnomalyKind,
    BandPoint,
    ClearedReason,
    Direction,
    Point,
    SeriesRef,
    Severity,
    Stage,
    Vote,
)
from shared.contracts.message import deterministic_id
from shared.items import family_of
from shared.machine import machine_for
from shared.samples import labels_from
from shared.series import SeriesIndex

_DIRECTIONS = {1: Direction.SPIKE, -1: Direction.DROP, 0: Direction.NONE}
_ALIVE, _SENDER_ALIVE = "host.alive", "sender.alive"
ANOMALY, ALARM = "anomaly", "threshold"
"""The kinds of episodes, as they are named in the ids of events."""
STAGES = tuple(Stage)
"""The rungs of the ladder, as they are numbered in the state."""


@dataclass(frozen=True)
class Judgement:
    """A tick with everything that was concluded from it."""

    tick: Tick
    votes: Mapping[str, Votes]
    kinds: NDArray[np.int8]
    stages: NDArray[np.int8]
    direction: NDArray[np.int8]
    deciding: Callable[[int], tuple[str, ...]]
    """The detectors whose votes counted for a series of a kind."""


class Writer:
    """Writes events for the few points that open or close an episode."""

    def __init__(
        self, series: SeriesIndex, detectors: Mapping[str, Detector], recent: Recent
    ) -> None:
        self._series = series
        self._detectors = detectors
        self._recent = recent

    def changes(self, changes: Changes, notices: Notices, judged: Judgement) -> Iterator[Message]:
        """Events of behaviour: the series left its usual range, or is back."""
        yield from self._write(ANOMALY, Severity.WARNING, changes, notices, judged)

    def alarm_changes(
        self, changes: Changes, notices: Notices, judged: Judgement
    ) -> Iterator[Message]:
        """Events of the static alarm threshold: crossed, or within again."""
        yield from self._write(ALARM, Severity.CRITICAL, changes, notices, judged)

    def _write(
        self,
        kind: str,
        severity: Severity,
        changes: Changes,
        notices: Notices,
        judged: Judgement,
    ) -> Iterator[Message]:
        rows = indices(judged.tick.rows) if len(changes.opened) + len(changes.closed) else None
        if rows is None:
            return
        for at in changes.opened:
            yield self._detected(kind, severity, int(rows[at]), int(at), judged)
        for at in changes.closed:
            row = int(rows[at])
            opened_ms = int(notices.state["opened_ms"][row])
            series = self._ref(row)
            yield AnomalyCleared(
                event_id=deterministic_id(kind, series.text(), opened_ms),
                series=series,
                family=family_of(series.item),
                time_ms=int(judged.tick.time_ms[at]),
                value=float(judged.tick.values[at]),
            )

    def series_ended(
        self, kind: str, notices: Notices, row: int, now_ms: int, sample: Point
    ) -> AnomalyCleared:
        """The episode of a series that sends nothing any more is over."""
        series = self._ref(row)
        return AnomalyCleared(
            event_id=deterministic_id(kind, series.text(), int(notices.state["opened_ms"][row])),
            series=series,
            family=family_of(series.item),
            time_ms=now_ms,
            value=sample.value,
            reason=ClearedReason.SERIES_ENDED,
            last_sample_ms=sample.time_ms,
        )

    def _detected(
        self, kind: str, severity: Severity, row: int, at: int, judged: Judgement
    ) -> AnomalyDetected:
        tick, series = judged.tick, self._ref(row)
        votes = tuple(
            vote_of(self._detectors[name], all_, at) for name, all_ in judged.votes.items()
        )
        direction = _DIRECTIONS[int(judged.direction[at])]
        rhythm = int(judged.kinds[at])
        limit = float(tick.limit[at])
        deciding = judged.deciding(rhythm)
        fired = [vote for vote in votes if vote.anomalous and vote.detector in deciding]
        named = (vote.kind for vote in fired if vote.kind is not AnomalyKind.OTHER)
        shape = next(named, AnomalyKind.OTHER)
        word = direction.value if shape is AnomalyKind.OTHER else shape.value.replace("_", " ")
        return AnomalyDetected(
            event_id=deterministic_id(kind, series.text(), int(tick.time_ms[at])),
            series=series,
            family=family_of(series.item),
            severity=severity,
            time_ms=int(tick.time_ms[at]),
            value=float(tick.values[at]),
            direction=direction,
            kind=shape,
            periodic=None if rhythm == UNKNOWN else rhythm == PERIODIC,
            stage=STAGES[int(judged.stages[at])],
            votes=votes,
            sentence=f"{series.text()}: {_why(word, fired)}",
            recent=self._recent.points(row),
            band=_band(votes, int(tick.time_ms[at])),
            threshold=None if np.isnan(limit) else limit,
        )

    def _ref(self, row: int) -> SeriesRef:
        host, item, labels = self._series.names[row]
        return SeriesRef(host=host, item=item, labels=labels_from(labels))

    def silence(self, change: Silence) -> Message:
        """A machine, or a sender of several, fell silent, or is back."""
        series, sentence = _silent(change)
        event_id = deterministic_id("silence", *_episode(change))
        if change.alive:
            return AnomalyCleared(
                event_id=event_id,
                series=series,
                family=family_of(series.item),
                time_ms=change.now_ms,
                value=1.0,
            )
        vote = Vote(
            detector="liveness",
            judged=True,
            anomalous=True,
            direction=Direction.DROP,
            kind=AnomalyKind.GAP,
            numbers={"silent_s": (change.now_ms - change.heard_ms) / 1000},
            sentence=sentence,
        )
        return AnomalyDetected(
            event_id=event_id,
            series=series,
            family=family_of(series.item),
            severity=Severity.CRITICAL,
            time_ms=change.now_ms,
            value=0.0,
            direction=Direction.DROP,
            kind=AnomalyKind.GAP,
            periodic=None,
            votes=(vote,),
            sentence=sentence,
            threshold=0.5,
        )


def _why(word: str, fired: Sequence[Vote]) -> str:
    """The shape with each detector's sentence; a threshold alone says all there is by itself."""
    if [vote.detector for vote in fired] == [Threshold.NAME]:
        return fired[0].sentence
    return "; ".join([word, *(f"{vote.detector}: {vote.sentence}" for vote in fired)])


def vote_of(detector: Detector, votes: Votes, at: int) -> Vote:
    """A detector's vote on one point, for people, too."""
    numbers = {key: float(array[at]) for key, array in votes.numbers.items()}
    judged = bool(votes.judged[at])
    finite = {key: value for key, value in numbers.items() if np.isfinite(value)}
    direction, anomalous = int(votes.direction[at]), bool(votes.anomalous[at])
    return Vote(
        detector=detector.NAME,
        judged=judged,
        anomalous=anomalous,
        direction=_DIRECTIONS[direction],
        kind=detector.kind(numbers, direction) if anomalous else AnomalyKind.OTHER,
        numbers=finite,
        sentence=detector.explain(numbers) if judged else "cannot judge yet",
    )


def _silent(change: Silence) -> tuple[SeriesRef, str]:
    """The series that a silence is about, and what is said of it."""
    seconds = (change.now_ms - change.heard_ms) / 1000
    if not change.machines:
        sentence = f"{change.host} has reported nothing for {seconds:.0f} s"
        return SeriesRef(host=change.host, item=_ALIVE), sentence
    address, _, product = change.host.partition(" ")
    labels = {"sender": product} if product else {}
    sentence = (
        f"{product or 'the sender'} at {address} has sent nothing for {seconds:.0f} s: "
        f"{change.machines} machines are not seen"
    )
    return SeriesRef(host=machine_for(address), item=_SENDER_ALIVE, labels=labels), sentence


def _episode(change: Silence) -> tuple[object, ...]:
    """The parts of an event's id: partitions that notice a sender's silence apart give the same."""
    return (change.host, change.heard_ms, *(["sender"] if change.machines else []))


def _band(votes: tuple[Vote, ...], time_ms: int) -> tuple[BandPoint, ...]:
    """The usual range at this point, as the first vote that fired saw it."""
    for vote in votes:
        numbers = vote.numbers
        if vote.anomalous and {"lower", "upper"} <= numbers.keys():
            lower, upper = numbers["lower"], numbers["upper"]
            return (BandPoint(time_ms=time_ms, mean=(lower + upper) / 2, lower=lower, upper=upper),)
        if vote.anomalous and {"mean", "limit"} <= numbers.keys():
            mean, limit = numbers["mean"], numbers["limit"]
            return (BandPoint(time_ms=time_ms, mean=mean, lower=mean - limit, upper=mean + limit),)
    return ()
