"""Maintains a service's store: relays the outbox, prunes the inbox, checks the database."""

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
"""Younger rows of the outbox are being sent by the transaction that wrote them."""
_AGAIN = 100
"""Messages sent together once more; each one that the broker refuses costs a channel."""


class Upkeep:
    """The periodic work on a store."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._store = store
        self._sending = threading.Lock()
        self.error = ""
        """The reason why the database did not answer at the last check."""
        self.look = Periodic("store", 5.0, self._look)
        """The periodic work of every replica."""
        self.work = (
            Periodic("outbox", 2.0, self._relay),
            Periodic("inbox", 3600.0, self._forget),
        )
        """The periodic work of the replicas that lead."""

    def _relay(self) -> None:
        """Send what a crash or an absent broker left in the outbox.

        What was tried in vain comes last, in small numbers as long as some of it still cannot be
        sent: new messages never wait behind it.
        """
        if not self._bus.ready:
            return
        with self._sending:
            OUTBOX.set(self._store.unsent_count(_FRESH_S))
            OUTBOX_SET_ASIDE.set(self._store.set_aside_count())
            send_queued(self._bus, self._store, self._store.unsent(older_than_s=_FRESH_S))
            while again := self._store.unsent(_AGAIN, _FRESH_S, again=True):
                if not send_queued(self._bus, self._store, again):
                    break

    def _forget(self) -> None:
        self._store.forget_handled(_INBOX_KEPT)

    def _look(self) -> None:
        try:
            self._store.reachable()
        except StoreUnavailable as error:
            self.error = str(error)
            raise
        self.error = ""
