"""Fair turns of the writers of one store."""

from __future__ import annotations

import time

_PAUSE_S = 0.001
_LONGEST_S = 0.2


def give_way(rest_s: float = 0.0) -> None:
    """Let others work before the caller's next transaction, for ``rest_s`` if that is longer.

    SQLite has one writer at a time. Whoever gives up its turn gets it again before those who wait
    for it have woken up, so that a loop over many transactions would keep all others waiting. And
    a process has one interpreter: who computes without a pause halves the speed of all others.
    """
    time.sleep(min(max(rest_s, _PAUSE_S), _LONGEST_S))
