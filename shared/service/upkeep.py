"""The upkeep of a service's store: the outbox sent, the inbox shortened, a look."""

from __future__ import annotations

import threading
from datetime import timedelta

from shared.messaging import Bus
from shared.observe import OUTBOX, OUTBOX_SET_ASIDE
from shared.service.context import Periodic
from shared.service.outbox import send_queued
from shared.store import Store, StoreUnavailable

_INBOX_KEPT = timedelta(days=8)
_FRESH_S = 5.0
"""Younger rows of the outbox are being sent by whoever wrote them."""


class Upkeep:
    """The periodic work on a store."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store
        self._sending = threading.Lock()
        self.error = ""
        """Why the database did not answer when it was looked at last."""
        self.look = Periodic("store", 5.0, self._look)
        """The periodic work of every replica."""
        self.work = (
            Periodic("outbox", 2.0, self._relay),
            Periodic("inbox", 3600.0, self._forget),
        )
        """The periodic work of the replicas that lead."""

    def _relay(self) -> None:
        """Send what a crash or an absent broker left in the outbox."""
        if not self._bus.ready:
            return
        with self._sending:
            left = self._store.unsent(older_than_s=_FRESH_S)
            OUTBOX.set(len(left))
            OUTBOX_SET_ASIDE.set(self._store.set_aside_count())
            send_queued(self._bus, self._store, left)

    def _forget(self) -> None:
        self._store.forget_handled(_INBOX_KEPT)

    def _look(self) -> None:
        try:
            self._store.reachable()
        except StoreUnavailable as error:
            self.error = str(error)
            raise
        self.error = ""
