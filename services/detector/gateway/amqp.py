"""The AMQP door: MetricBatch messages from ``detector.samples``, as JSON or as Arrow columns."""

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
from shared.service.inlet import Inlet, refuse_crashers
from shared.store import Unit

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
        # What goes to the streams together is in the trace of the first.
        with spans.taking(deliveries[0]):
            super().handle(deliveries)
            if self._taken:
                self._ingest.publish(self._taken)
                SAMPLES.labels("received").inc(sum(map(len, self._taken)))

    def _json(self, message: MetricBatch, _context: Context) -> Iterable[Message]:
        batch, ahead = self._ingest.in_time(from_message(message))
        if ahead:
            raise Reject("; ".join(ahead), tuple(Fault(field="time_ms", problem=a) for a in ahead))
        self._taken.append(batch)
        return ()

    def _label(self, message: AnomalyJudged, _context: Context) -> Iterable[Message]:
        self._ingest.label(message)
        return ()

    def _one(self, delivery: Delivery, unit: Unit | None) -> list[Outgoing]:
        if (delivery.content_type or "").partition(";")[0].strip() != ARROW:
            return super()._one(delivery, unit)
        try:
            refuse_crashers(delivery)
            batch, faults = decode_partly(delivery.body)
        except InvalidBatch as error:
            return self._rejected(
                delivery, f"not a valid Arrow batch: {error}", _named(error.faults)
            )
        except Reject as error:
            return self._rejected(delivery, error.reason, error.faults)
        except Exception as error:
            # A batch that fails in an unforeseen way must not be delivered again and again.
            log.exception("batch_not_read", queue=delivery.queue, key=delivery.original_key)
            return self._rejected(delivery, f"not a readable Arrow batch: {error!r}"[:2000], ())
        batch, ahead = self._ingest.in_time(batch)
        self._taken.append(batch)
        faults += ahead
        return self._left_out(delivery, len(batch), _named(faults)) if faults else []

    def _rejected(
        self, delivery: Delivery, reason: str, faults: tuple[Fault, ...]
    ) -> list[Outgoing]:
        """Refuse a message; a JSON batch still gives its good samples."""
        if delivery.crashes <= 1 and _is_json_batch(delivery):
            batch, left_out = good_samples(delivery.body)
            batch, ahead = self._ingest.in_time(batch)
            if len(batch):
                self._taken.append(batch)
                named = (*left_out, *(Fault(field="time_ms", problem=a) for a in ahead))
                return self._left_out(delivery, len(batch), named or faults)
        return super()._rejected(delivery, reason, faults)

    def _left_out(
        self, delivery: Delivery, taken: int, faults: tuple[Fault, ...]
    ) -> list[Outgoing]:
        problems = "; ".join(f"{f.field}: {f.problem}" if f.field else f.problem for f in faults)
        reason = f"{taken} samples are taken, the others not: {problems}"
        return super()._rejected(delivery, reason, faults)


def _named(faults: Sequence[str]) -> tuple[Fault, ...]:
    return tuple(Fault(field="", problem=fault) for fault in faults)


def _is_json_batch(delivery: Delivery) -> bool:
    try:
        found = message_class(delivery)
    except Reject:
        return False
    return found is MetricBatch and not (delivery.content_type or "").startswith(ARROW)
