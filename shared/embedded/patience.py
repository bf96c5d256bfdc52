"""Time limits in CPU time really received, for machines that others use as well."""

from __future__ import annotations

import time

_SPIN_S = 0.01
_EVERY_S = 1.0


def share() -> float:
    """The part of one processor's time that a busy program gets right now, up to 1."""
    begin, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < _SPIN_S:
        pass
    return min(1.0, _SPIN_S / max(time.monotonic() - begin, _SPIN_S))


class Patience:
    """A limit chosen on an idle machine that holds on a busy one.

    A second in which a busy program gets a quarter of a processor counts as a quarter.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._begin = self._seen = time.monotonic()

    @property
    def waited_s(self) -> float:
        """Seconds since the beginning, by the clock."""
        return time.monotonic() - self._begin

    def is_over(self) -> bool:
        """Return whether the time limit has passed; the CPU time is read once a second."""
        passed = time.monotonic() - self._seen
        if passed >= min(_EVERY_S, self._left):
            self._left -= passed * share()
            self._seen = time.monotonic()
        return self._left <= 0
