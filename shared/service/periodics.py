"""Periodic work: each piece has a thread that calls it on schedule, or sooner when woken."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import structlog

from shared.service.context import Periodic
from shared.service.liveness import Turn
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)


class Periodics:
    """The threads, from ``start`` to the moment ``stop`` is set.

    Args:
        planned: what will be started; it may be woken before.
        stop: set when nothing is to be called any more.
        turns: where it is kept when each came to its end last.
    """

    def __init__(
        self, planned: Iterable[Periodic], stop: threading.Event, turns: dict[str, Turn]
    ) -> None:
        planned = list(planned)
        self._stop = stop
        self._turns = turns
        self._wakes = {p.name: threading.Event() for p in planned}
        self._eager = [self._wakes[p.name] for p in planned if p.eager]
        self._threads: list[threading.Thread] = []

    def wake(self, name: str | None = None) -> None:
        """Call a periodic now (all of them without a name)."""
        for key, event in list(self._wakes.items()):
            if name in (None, key):
                event.set()

    def wake_eager(self) -> None:
        """Call the periodics that run after every batch of messages."""
        for event in self._eager:
            event.set()

    def woken(self, name: str) -> bool:
        """Return whether a periodic is to be called now."""
        return self._wakes[name].is_set()

    def start(self, *periodics: Periodic) -> None:
        """Call these from now on."""
        for periodic in periodics:
            event = self._wakes.setdefault(periodic.name, threading.Event())
            turn = Turn(max(periodic.every_s, periodic.pause_s), periodic.limit_s)
            self._turns[periodic.name] = turn
            thread = threading.Thread(
                target=self._loop,
                args=(periodic, event, turn),
                name=f"periodic-{periodic.name}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for calls in progress to end, after ``stop`` is set."""
        self.wake()
        for thread in list(self._threads):
            thread.join(timeout_s)

    def _loop(self, periodic: Periodic, event: threading.Event, turn: Turn) -> None:
        while True:
            # Cleared before the look: what ``join`` wakes after it has set ``stop`` stays awake.
            event.clear()
            if self._stop.is_set():
                return
            try:
                periodic.run()
            except Unavailable as error:
                log.warning("periodic_postponed", periodic=periodic.name, error=str(error))
                turn.done()
            except Exception as error:
                # The other broad except of the runner: periodic work is tried again.
                log.exception("periodic_failed", periodic=periodic.name)
                turn.failed(error)
            else:
                turn.done()
            if periodic.pause_s:
                self._stop.wait(periodic.pause_s)
            event.wait(periodic.every_s)
