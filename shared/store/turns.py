"""Fair turns of the writers of one store."""

from __future__ import annotations

import time

_PAUSE_S = 0.001


def give_way() -> None:
    """Let waiting writers go before the caller's next transaction.

    SQLite has one writer at a time. Whoever gives up its turn gets it again before those who wait
    for it have woken up, so that a loop over many transactions would keep all others waiting.
    """
    time.sleep(_PAUSE_S)
