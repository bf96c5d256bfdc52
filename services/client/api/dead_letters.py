"""The number of dead letters, requested from the services a few times an hour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from services.client.questions import Questions, TooManyQuestions
from shared.messaging import BrokerUnavailable

_FRESH_S = 60.0
log = structlog.get_logger(__name__)


class DeadLetters:
    """Asks in a separate thread, because the number of answers is unknown and a page would wait."""

    def __init__(self, questions: Questions, clock: Callable[[], float] = time.monotonic) -> None:
        self._questions = questions
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._newest: dict[str, int] = {}

    def now(self) -> dict[str, int]:
        """The queues that have dead letters, as answered last, with how many."""
        with self._lock:
            now = self._clock()
            if self._asked_at is None or now - self._asked_at >= _FRESH_S:
                self._asked_at = now
                threading.Thread(target=self._ask, name="dead-letters", daemon=True).start()
            return self._newest

    def _ask(self) -> None:
        try:
            found = self._questions.dead_letters()
        except (BrokerUnavailable, TooManyQuestions) as error:
            log.info("dead_letters_not_asked", reason=str(error))
            return
        with self._lock:
            self._newest = {queue: count for queue, count in sorted(found.items()) if count}
