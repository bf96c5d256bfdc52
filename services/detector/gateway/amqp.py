"""The AMQP door: MetricBatch messages from ``detector.samples``, as JSON or as Arrow columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.detector.gateway.ingest import Ingest
from shared.contracts import AnomalyJudged, Fault, Message, MetricBatch
from shared.messaging import Bus, Delivery, Outgoing, Reject
from shared.messaging.bus import ARROW
from shared.observe import SAMPLES
from shared.samples import InvalidBatch, SampleBatch, decode, from_message
from shared.service import Context
from shared.service.inlet import Inlet
from shared.store.store import Unit


class SampleInlet(Inlet):
    """Settles a batch of deliveries at once: their samples go to the streams together.

    What is bad is answered and dead-lettered like any other message, by the base class.
    """

    def __init__(self, bus: Bus, ingest: Ingest, clock: Callable[[], datetime]) -> None:
        handlers: Mapping[type[Message], Callable[[Any, Context], Iterable[Message]]] = {
            MetricBatch: self._json,
            AnomalyJudged: self._label,
        }
        super().__init__(bus, handlers, None, clock)
        self._ingest = ingest
        self._taken: list[SampleBatch] = []

    def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Publish all good samples with confirms; only then may the deliveries be acked."""
        self._taken = []
        super().handle(deliveries)
        if self._taken:
            self._ingest.publish(self._taken)
            SAMPLES.labels("received").inc(sum(map(len, self._taken)))

    def _json(self, message: MetricBatch, _context: Context) -> Iterable[Message]:
        self._take(from_message(message))
        return ()

    def _label(self, message: AnomalyJudged, _context: Context) -> Iterable[Message]:
        self._ingest.label(message)
        return ()

    def _one(self, delivery: Delivery, unit: Unit | None) -> list[Outgoing]:
        if (delivery.content_type or "").partition(";")[0].strip() != ARROW:
            return super()._one(delivery, unit)
        try:
            self._take(decode(delivery.body))
        except InvalidBatch as error:
            faults = tuple(Fault(field="", problem=fault) for fault in error.faults)
            return self._rejected(delivery, f"not a valid Arrow batch: {error}", faults)
        except Reject as error:
            return self._rejected(delivery, error.reason, error.faults)
        return []

    def _take(self, batch: SampleBatch) -> None:
        ahead = self._ingest.too_new(batch)
        if ahead:
            raise Reject("; ".join(ahead), tuple(Fault(field="time_ms", problem=a) for a in ahead))
        self._taken.append(batch)
