"""One transaction of periodic work: records to change, messages to send when it commits."""

from __future__ import annotations

import hashlib

import structlog

from shared.contracts import Message
from shared.messaging import Bus, Unpublishable
from shared.observe import SET_ASIDE
from shared.service.outbox import as_queued
from shared.store import Queued, Records, Unit

log = structlog.get_logger(__name__)

_MAX_SHOWN = 100_000
"""Characters that are kept of an event that is no valid message."""


class ServiceUnit:
    """One transaction of a reconciler: records to change, messages to send when it commits."""

    def __init__(self, bus: Bus, unit: Unit) -> None:
        self._bus = bus
        self._unit = unit
        self.records: Records = unit.records
        self.queued: list[Queued] = []

    def emit(self, *messages: Message) -> None:
        """Send ``messages`` once this transaction is committed.

        What breaks its contract or AMQP's limits is kept in the outbox for an operator: the work
        of the transaction, and the other messages, must not wait for it forever.
        """
        self.queued += self._unit.enqueue([self._prepared(message) for message in messages])

    def _prepared(self, message: Message) -> Queued:
        try:
            return as_queued(self._bus.prepare(message))
        except Unpublishable as error:
            log.exception("event_set_aside", type=message.TYPE)
            SET_ASIDE.labels("outbox").inc()
            body = repr(message)[:_MAX_SHOWN].encode("utf-8", "backslashreplace")
            identity = hashlib.sha256(body).hexdigest()
            return Queued(
                "", message.TYPE, identity, {}, body, mandatory=False, set_aside=str(error)
            )
