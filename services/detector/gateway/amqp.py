"""Samples over AMQP: MetricBatch messages from ``detector.samples``, as JSON or Arrow columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from services.detector.gateway.ingest import Ingest
from services.detector.gateway.salvage import good_samples
from shared.contracts import AnomalyJudged, Fault, Message, MetricBatch
from shared.messaging import Bus, Delivery, Outgoing, Reject, message_class
from shared.messaging.bus import ARROW
from shared.observe import SAMPLES
from shared.samples import InvalidBatch, SampleBatch, decode_partly, from_message
from shared.service import Context, spans
from shared.service.inlet import Attempt, Inlet
from shared.service.reading import refuse_crashers

log = structlog.get_logger(__name__)


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
        if not deliveries:
            return
        # Messages that are published together belong to the trace of the first one.
        with spans.taking(deliveries[0]):
            super().handle(deliveries)

    def _publish_all(self, outgoing: Sequence[Outgoing]) -> None:
        """The samples go first: if they cannot be stored now, nothing was answered either."""
        if self._taken:
            self._ingest.publish(self._taken)
            SAMPLES.labels("received").inc(sum(map(len, self._taken)))
        super()._publish_all(outgoing)

    def _json(self, message: MetricBatch, _context: Context) -> Iterable[Message]:
        batch, ahead = self._ingest.in_time(from_message(message))
        if ahead:
            raise Reject("; ".join(ahead), tuple(Fault(field="time_ms", problem=a) for a in ahead))
        self._taken.append(batch)
        return ()

    def _label(self, message: AnomalyJudged, _context: Context) -> Iterable[Message]:
        self._ingest.label(message)
        return ()

    def _one(self, delivery: Delivery, attempt: Attempt) -> list[Outgoing]:
        if (delivery.content_type or "").partition(";")[0].strip() != ARROW:
            return super()._one(delivery, attempt)
        try:
            refuse_crashers(delivery)
            batch, faults = decode_partly(delivery.body)
        except InvalidBatch as error:
            reason = f"not a valid Arrow batch: {error}"
            return self._rejected(delivery, reason, _named(error.faults), attempt)
        except Reject as error:
            return self._rejected(delivery, error.reason, error.faults, attempt)
        except Exception as error:
            # A batch that fails in an unforeseen way must not be delivered repeatedly.
            log.exception("batch_not_read", queue=delivery.queue, key=delivery.original_key)
            reason = f"not a readable Arrow batch: {error!r}"[:2000]
            return self._rejected(delivery, reason, (), attempt)
        batch, ahead = self._ingest.in_time(batch)
        self._taken.append(batch)
        faults += ahead
        return self._left_out(delivery, len(batch), _named(faults), attempt) if faults else []

    def _rejected(
        self, delivery: Delivery, reason: str, faults: tuple[Fault, ...], attempt: Attempt
    ) -> list[Outgoing]:
        """Refuse a message; a JSON batch still gives its good samples."""
        if delivery.crashes <= 1 and _is_json_batch(delivery):
            batch, left_out = good_samples(delivery.body)
            batch, ahead = self._ingest.in_time(batch)
            if len(batch):
                self._taken.append(batch)
                named = (*left_out, *(Fault(field="time_ms", problem=a) for a in ahead))
                return self._left_out(delivery, len(batch), named or faults, attempt)
        return super()._rejected(delivery, reason, faults, attempt)

    def _left_out(
        self, delivery: Delivery, taken: int, faults: tuple[Fault, ...], attempt: Attempt
    ) -> list[Outgoing]:
        problems = "; ".join(f"{f.field}: {f.problem}" if f.field else f.problem for f in faults)
        reason = f"{taken} samples were stored, the others not: {problems}"
        return super()._rejected(delivery, reason, faults, attempt)


def _named(faults: Sequence[str]) -> tuple[Fault, ...]:
    return tuple(Fault(field="", problem=fault) for fault in faults)


def _is_json_batch(delivery: Delivery) -> bool:
    try:
        found = message_class(delivery)
    except Reject:
        return False
    return found is MetricBatch and not (delivery.content_type or "").startswith(ARROW)
