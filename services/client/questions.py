"""Questions to other services over the broker, and the answers that arrive in time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from shared.contracts import (
    CurveAnswered,
    CurveAsk,
    DeadLettersAnswered,
    DeadLettersAsk,
    Message,
    ScoresAnswered,
    ScoresAsk,
    SeriesFound,
    SeriesRef,
    SeriesSearch,
    SettingsAnswered,
    SettingsAsk,
    ThresholdTried,
    ThresholdTry,
)
from shared.contracts.alerts import Point
from shared.service import Context

WITHIN_S = 2.0
"""The time that a page waits for answers, which usually take milliseconds."""
_SERVICES = frozenset({"autospec", "detector", "healer", "predictor", "task"})
_MOMENT_S = 0.1
"""The time that further replicas have after every service has answered."""
_MAX_OPEN, _MAX_ANSWERS = 16, 1_000
"""The most questions at one time: each occupies one of 40 threads for seconds."""

Answer = (
    SeriesFound
    | CurveAnswered
    | DeadLettersAnswered
    | ScoresAnswered
    | SettingsAnswered
    | ThresholdTried
)
Enough = Callable[[Sequence[Any]], bool]


class Asking(Protocol):
    """The methods of the bus that this module needs."""

    def publish(self, messages: Iterable[Message], *, timeout_s: float) -> None:
        """Return once the broker has the messages; raises ``BrokerUnavailable``."""


class TooManyQuestions(Exception):
    """Too many pages are waiting for answers."""


class Questions:
    """Publishes questions and returns their answers; other replicas' answers are dropped."""

    def __init__(
        self,
        bus: Asking,
        within_s: float = WITHIN_S,
        own_dead_letters: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._bus = bus
        self._own_dead_letters = own_dead_letters
        self._within_s = within_s
        self._open: dict[str, list[Answer]] = {}
        self._changed = threading.Condition()

    def search(self, host: str, item: str, search: str, limit: int) -> list[SeriesFound]:
        """Each partition's answer, of those that answered in time.

        Raises:
            BrokerUnavailable: when it cannot be asked.
            TooManyQuestions: when too many wait already.
        """
        with self._asked() as request_id:
            asked = {"host": host, "item": item, "search": search, "limit": limit}
            self._bus.publish(
                [SeriesSearch(request_id=request_id, at=datetime.now(UTC), **asked)],
                timeout_s=self._within_s,
            )
            return self._answers(request_id, _every_partition)

    def curve(self, series: SeriesRef) -> list[CurveAnswered]:
        """The answers of detector and predictor that came in time; raises as ``search``."""
        with self._asked() as request_id:
            asked = CurveAsk(request_id=request_id, at=datetime.now(UTC), series=series)
            self._bus.publish([asked], timeout_s=self._within_s)
            return self._answers(request_id, lambda answers: len({a.source for a in answers}) > 1)

    def points(self, series: SeriesRef) -> tuple[Point, ...]:
        """The newest values that the detector keeps of a series; raises as ``search``."""
        with self._asked() as request_id:
            asked = CurveAsk(request_id=request_id, at=datetime.now(UTC), series=series)
            self._bus.publish([asked], timeout_s=self._within_s)
            answers = self._answers(request_id, lambda found: any(map(_is_detectors, found)))
        return next((a.curve.points for a in answers if _is_detectors(a) and a.curve), ())

    def threshold(
        self, series: SeriesRef, threshold: float, points: Sequence[Point], *, above: bool
    ) -> ThresholdTried | None:
        """Return the alarms of a history; None without an answer; raises like ``search``."""
        with self._asked() as request_id:
            asked = ThresholdTry(
                request_id=request_id,
                at=datetime.now(UTC),
                series=series,
                threshold=threshold,
                above=above,
                points=tuple(points),
            )
            self._bus.publish([asked], timeout_s=self._within_s)
            answers: list[ThresholdTried] = self._answers(request_id, bool)
            return answers[0] if answers else None

    def scores(self) -> list[ScoresAnswered]:
        """Each partition's scores, of those that answered in time; raises as ``search``."""
        with self._asked() as request_id:
            asked = ScoresAsk(request_id=request_id, at=datetime.now(UTC))
            self._bus.publish([asked], timeout_s=self._within_s)
            return self._answers(request_id, _every_partition)

    def dead_letters(self) -> dict[str, int]:
        """The dead letters of each queue, its own and those of services that answered.

        Raises as ``search``.
        """
        with self._asked() as request_id:
            asked = DeadLettersAsk(request_id=request_id, at=datetime.now(UTC))
            self._bus.publish([asked], timeout_s=self._within_s)
            answers: list[DeadLettersAnswered] = self._answers(request_id, lambda _: False)
        found = dict(self._own_dead_letters())
        for answer in answers:
            found |= answer.queues
        return found

    def settings(self) -> list[SettingsAnswered]:
        """The settings of every replica that answered in time; raises as ``search``."""
        with self._asked() as request_id:
            asked = SettingsAsk(request_id=request_id, at=datetime.now(UTC))
            self._bus.publish([asked], timeout_s=self._within_s)
            # Nobody knows how many replicas there are: once every service has answered, the others
            # have a moment.
            return self._answers(request_id, _every_service, _MOMENT_S)

    def take(self, answer: Answer, _ctx: Context) -> tuple[()]:
        """Handle an answer's message."""
        with self._changed:
            waiting = self._open.get(answer.request_id)
            if waiting is not None and len(waiting) < _MAX_ANSWERS:
                waiting.append(answer)
                self._changed.notify_all()
        return ()

    @contextmanager
    def _asked(self) -> Iterator[str]:
        request_id = str(uuid.uuid4())
        with self._changed:
            if len(self._open) >= _MAX_OPEN:
                raise TooManyQuestions(f"{_MAX_OPEN} pages wait for answers already")
            self._open[request_id] = []
        try:
            yield request_id
        finally:
            with self._changed:
                del self._open[request_id]

    def _answers(self, request_id: str, enough: Enough, moment_s: float = 0.0) -> list[Any]:
        """Wait until there are enough, and then until none has come for ``moment_s``."""
        deadline = time.monotonic() + self._within_s
        answers = self._open[request_id]
        with self._changed:
            self._changed.wait_for(lambda: enough(answers), max(0.0, deadline - time.monotonic()))
            known = 0
            while moment_s and known < len(answers) and time.monotonic() < deadline:
                known = len(answers)
                self._changed.wait_for(partial(_are_more, answers, known), moment_s)
            return list(answers)


def _are_more(answers: Sequence[Answer], known: int) -> bool:
    return len(answers) > known


def _is_detectors(answer: CurveAnswered) -> bool:
    return answer.source == "detector"


def _every_service(found: Sequence[SettingsAnswered]) -> bool:
    return {each.service for each in found} >= _SERVICES


def _every_partition(found: Sequence[SeriesFound | ScoresAnswered]) -> bool:
    return bool(found) and len({each.partition for each in found}) >= found[0].partitions
