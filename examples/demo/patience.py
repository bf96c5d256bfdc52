"""How long to wait on a machine that others use, too: in seconds that this machine really gave."""

from __future__ import annotations

import time
from collections.abc import Iterator

_SPIN_S = 0.01
_PAUSE_S = 0.5


def share() -> float:
    """The part of one processor's time that a busy program gets right now, up to 1."""
    begin, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < _SPIN_S:
        pass
    return min(1.0, _SPIN_S / max(time.monotonic() - begin, _SPIN_S))


def slowness(samples: int = 20) -> float:
    """How many times longer things take than on an idle machine, over the next second or more."""
    found = []
    for _ in range(samples):
        found.append(share())
        time.sleep(0.05)
    return len(found) / sum(found)


def waiting(patience_s: float) -> Iterator[float]:
    """Gives the seconds spent so far, until ``patience_s`` seconds of this machine's time are over.

    A second in which a busy program gets a quarter of a processor counts as a quarter, so that a
    limit chosen on a quiet machine holds on a loaded one.
    """
    spent, begin = 0.0, time.monotonic()
    before = begin
    while spent < patience_s:
        yield time.monotonic() - begin
        time.sleep(_PAUSE_S)
        now = time.monotonic()
        spent, before = spent + (now - before) * share(), now
