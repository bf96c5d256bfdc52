"""Handles batches of deliveries: waits during outages, and sets poison messages aside."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import groupby

import structlog

from shared.messaging.crash_marks import CrashMarks
from shared.messaging.envelope import Delivery
from shared.observe import SET_ASIDE
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

HandleBatch = Callable[[Sequence[Delivery]], None]
"""Must settle every delivery it is given: returning means they may be acked.

It raises ``Unavailable`` when something outside keeps it from doing so.
"""

PAUSES_S = (1.0, 2.0, 5.0, 10.0)
"""Pauses between attempts during an outage; the last one is repeated."""

_SUSPECT_RETURNS = 2
"""A message redelivered this often may be what kills the process, so it is handled alone."""

_ATTEMPTS_ALONE = 3


class _Attempt(Enum):
    """The result of one call of the handler."""

    HANDLED = auto()
    FAILED = auto()
    POSTPONED = auto()
    """Something outside was unavailable."""


@dataclass
class Outcome:
    """The outcome of a batch, by delivery tag; a tag in neither list is given back."""

    done: list[int] = field(default_factory=list)
    set_aside: list[int] = field(default_factory=list)
    """The broker is to dead-letter these."""


class Handling:
    """Calls one queue's handler, from the threads of its consumer's pool."""

    def __init__(
        self,
        queue: str,
        handle: HandleBatch,
        marks: CrashMarks | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._queue = queue
        self._handle = handle
        self._marks = marks or CrashMarks()
        self._pauses_s = pauses_s
        self._begun: dict[int, float] = {}
        self.stopped = threading.Event()
        """Set when no further attempt is to be begun."""
        self.outage = ""
        """The part that is unavailable, so that handling pauses; empty while none is."""

    @property
    def busy_s(self) -> float:
        """Return how long the oldest call of the handler has been running; pauses do not count."""
        begun = min(list(self._begun.values()), default=None)
        return 0.0 if begun is None else time.monotonic() - begun

    def settle(self, batch: Sequence[Delivery], held: Callable[[], bool]) -> Outcome:
        """Handle ``batch`` in its order; ``held`` says whether the deliveries are still ours."""
        outcome = Outcome()
        for suspect, run in groupby(batch, lambda delivery: delivery.returns >= _SUSPECT_RETURNS):
            # Runs keep the queue's order: a sample handled after a later one is out of date.
            deliveries = list(run)
            if not suspect and self.together(deliveries, held):
                outcome.done += [delivery.tag for delivery in deliveries]
                continue
            for delivery in deliveries:
                self._alone(delivery, held, outcome)
        return outcome

    def together(self, batch: Sequence[Delivery], held: Callable[[], bool], mark: str = "") -> bool:
        """Call the handler until no outage prevents its work; returns whether it succeeded."""
        outages = 0
        while held() and not self.stopped.is_set():
            # Not by ``outage``: another thread's attempt may have changed that since.
            attempt = self._tried(batch, mark)
            if attempt is not _Attempt.POSTPONED:
                return attempt is _Attempt.HANDLED
            pause_s = self._pauses_s[min(outages, len(self._pauses_s) - 1)]
            outages += 1
            log.warning("queue_paused", queue=self._queue, reason=self.outage, pause_s=pause_s)
            self.stopped.wait(pause_s)
        # Nothing waits for it here any more, and other deliveries may come much later.
        self.outage = ""
        return False

    def once(self, batch: Sequence[Delivery]) -> bool:
        """Call the handler once; whether it succeeded."""
        return self._tried(batch, "") is _Attempt.HANDLED

    def _tried(self, batch: Sequence[Delivery], mark: str) -> _Attempt:
        try:
            self._call(batch, mark)
        except Unavailable as error:
            self.outage = str(error) or type(error).__name__
            return _Attempt.POSTPONED
        except Exception:
            # The last resort: what a batch handler lets through is a fault of ours. Nothing is
            # lost: each delivery is handled by itself, and what fails is dead-lettered.
            log.exception("batch_failed", queue=self._queue, size=len(batch))
            self.outage = ""
            return _Attempt.FAILED
        self.outage = ""
        return _Attempt.HANDLED

    def _alone(self, delivery: Delivery, held: Callable[[], bool], outcome: Outcome) -> None:
        """Handle one delivery alone, so that its failure affects no other."""
        mark = _mark(self._queue, delivery)
        marked = replace(delivery, crashes=self._marks.crashes(mark))
        for attempt in range(_ATTEMPTS_ALONE):
            if attempt:
                self.stopped.wait(self._pauses_s[0])
            if self.together([marked], held, mark):
                self._marks.forget(mark)
                outcome.done.append(delivery.tag)
                return
            if self.stopped.is_set() or not held():
                return  # It comes again on another channel, or to another process.
        log.error("message_set_aside", queue=self._queue, key=delivery.original_key)
        SET_ASIDE.labels(self._queue).inc()
        outcome.set_aside.append(delivery.tag)

    def _call(self, batch: Sequence[Delivery], mark: str) -> None:
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        try:
            with self._marks.working_on(mark) if mark else nullcontext():
                self._handle(batch)
        finally:
            del self._begun[thread]


def _mark(queue: str, delivery: Delivery) -> str:
    """The key of this very message: an id alone may be another sender's, too."""
    digest = hashlib.sha256(delivery.body)
    digest.update(delivery.identity.encode("utf-8", "replace"))
    return f"{queue} {digest.hexdigest()}"
