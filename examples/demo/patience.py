"""Measures how slow this machine is, and waits in seconds that it really gave."""

from __future__ import annotations

import time
from collections.abc import Iterator

from shared.embedded.patience import Patience, share

_PAUSE_S = 0.5


def slowness(samples: int = 20) -> float:
    """Return how many times longer work takes than on an idle machine, over a second or more."""
    found = []
    for _ in range(samples):
        found.append(share())
        time.sleep(0.05)
    return len(found) / sum(found)


def waiting(patience_s: float) -> Iterator[float]:
    """Gives the seconds spent so far, until ``patience_s`` seconds of an idle machine are over."""
    patience = Patience(patience_s)
    while not patience.is_over():
        yield patience.waited_s
        time.sleep(_PAUSE_S)
