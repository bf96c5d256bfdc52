"""Runs what may hang in the kernel apart from everything else.

A look at a network file system whose server is away does not return, nor does one at a process
that waits for it, and no signal and no time limit of Python ends them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class HangsError(Exception):
    """The function has not returned within its time, or still hangs in an earlier call."""


class Apart:
    """Calls functions in threads of their own, and waits for each no longer than it may take.

    A thread that hangs is left behind, and its function is not called again before it has ended:
    so there is at most one for each name.
    """

    def __init__(self) -> None:
        self._hanging: dict[str, tuple[threading.Thread, float]] = {}

    def call(self, name: str, function: Callable[[], T], seconds: float) -> T:
        """Return what the function returns or raises.

        Raises:
            HangsError: it takes longer than ``seconds``, or one of this name hangs already.
        """
        thread, since = self._hanging.get(name, (None, 0.0))
        if thread is not None and thread.is_alive():
            raise HangsError(f"{name} hangs, since {time.monotonic() - since:.0f} s")
        returned: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                returned.append(function())
            except BaseException as error:  # noqa: BLE001 - the waiting caller raises it again
                raised.append(error)

        thread, since = (
            threading.Thread(target=run, name=f"apart-{name}", daemon=True),
            time.monotonic(),
        )
        thread.start()
        thread.join(max(seconds, 0.0))
        if returned:
            return returned[0]
        if raised:
            raise raised[0]
        self._hanging[name] = thread, since
        raise HangsError(f"{name} did not end within {seconds:.0f} s")
