"""Opens a store, waiting for a database that is starting or restarting."""

from __future__ import annotations

import time

import structlog

from shared.store.errors import StoreUnavailable
from shared.store.store import Store

log = structlog.get_logger(__name__)

STARTING_S = 60.0
"""The seconds for which a service that starts waits for its database."""
_PAUSE_S = 1.0


def opened(url: str, wait_s: float = STARTING_S, pause_s: float = _PAUSE_S) -> Store:
    """The store of ``url``, its schema current; tried again until the time is over.

    A service that ended instead would be started again later and later. SQLite's files are there
    or not: nothing is waited for.

    Raises:
        StoreUnavailable: with the last reason.
    """
    deadline = time.monotonic() + (0.0 if url.startswith("sqlite") else wait_s)
    while True:
        try:
            return Store(url)
        except StoreUnavailable as error:
            if time.monotonic() >= deadline:
                raise
            log.warning("database_awaited", error=str(error).strip())
            time.sleep(pause_s)
