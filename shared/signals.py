"""Termination signals, handled in a thread and not in the signal handler.

Python runs a handler in the main thread, between any two steps of what that is doing. If the main
thread is just waiting for an event, it holds the event's lock, and a handler that sets the same
event waits for that lock for ever. `SimpleQueue.put` is safe there.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

ENDS = (signal.SIGTERM, signal.SIGINT)
"""The signals by which a process is asked to end."""


def on_signals(act: Callable[[], None], numbers: tuple[signal.Signals, ...] = ENDS) -> None:
    """Have ``act`` called whenever one of these signals comes; only from the main thread."""
    came: SimpleQueue[int] = SimpleQueue()

    def follow() -> None:
        while True:
            came.get()
            act()

    threading.Thread(target=follow, name="signals", daemon=True).start()
    for number in numbers:
        signal.signal(number, lambda number, _frame: came.put(number))
