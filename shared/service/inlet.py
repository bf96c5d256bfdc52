"""From deliveries to settled deliveries: decode, handle, publish, retry or dead-letter."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from shared import topology
from shared.contracts import Fault, Message
from shared.messaging import (
    Bus,
    Declined,
    Delivery,
    Envelope,
    Outgoing,
    Reject,
    Retry,
    Unpublishable,
    Unroutable,
    decode,
)
from shared.messaging.crash_marks import MAX_CRASHES
from shared.messaging.envelope import ATTEMPT
from shared.observe import HANDLING, MESSAGES
from shared.service import spans
from shared.service.context import Context, Handler, ReadAhead
from shared.service.copies import copy, kept_headers
from shared.service.outbox import as_queued, send_or_leave
from shared.service.refusals import answer
from shared.store import Queued, Store, StoreUnavailable, Unit
from shared.traces import Span
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

_MAX_REASON = 4_000


class Inlet:
    """Handles the batches of one queue for a service."""

    def __init__(
        self,
        bus: Bus,
        handlers: Mapping[type[Message], Handler],
        store: Store | None,
        clock: Callable[[], datetime],
        after: Callable[[], None] = lambda: None,
        read_ahead: ReadAhead | None = None,
    ) -> None:
        self._bus = bus
        self._handlers = handlers
        self._store = store
        self._clock = clock
        self._after = after
        self._read_ahead = read_ahead

    def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Settle every delivery: when this returns, all effects are durable."""
        if not deliveries:
            return
        queue = deliveries[0].queue
        started = time.perf_counter()
        if self._store is None:
            self._publish_all([out for d in deliveries for out in self._settle(d, None)])
        else:
            send_or_leave(self._bus, self._store, self._commit(self._store, deliveries))
        HANDLING.labels(queue).observe(time.perf_counter() - started)
        self._after()

    def _commit(self, store: Store, deliveries: Sequence[Delivery]) -> list[Queued]:
        """Handle the batch in one transaction; with what it has to say in the outbox."""
        if len(deliveries) > 1:
            try:
                with store.unit() as unit:
                    together = self._together(deliveries, unit)
                    return unit.enqueue([as_queued(out) for out in together])
            except StoreUnavailable:
                raise
            except Declined:
                pass  # an everyday answer; all undone, and handled one by one as below
            except Exception:
                # All undone. One by one, each in a part of its own, the failure stays with the
                # delivery that caused it; handlers have no effect but their records.
                log.info(
                    "batch_taken_apart",
                    queue=deliveries[0].queue,
                    size=len(deliveries),
                    exc_info=True,
                )
        with store.unit() as unit:
            outgoing = [out for d in deliveries for out in self._settle(d, unit)]
            return unit.enqueue([as_queued(out) for out in outgoing])

    def _together(self, deliveries: Sequence[Delivery], unit: Unit) -> list[Outgoing]:
        """All of the batch at once: three statements instead of three for each delivery."""
        outgoing: list[Outgoing] = []
        readable: list[tuple[Delivery, Message, Envelope, str]] = []
        refused: list[tuple[Delivery, Reject]] = []
        for delivery in deliveries:
            try:
                refuse_crashers(delivery)
                readable.append((delivery, *_read(delivery)))
            except Reject as error:
                refused.append((delivery, error))
        once = [effect for _, message, _, effect in readable if message.ONCE]
        new = unit.first_times(deliveries[0].queue, once)
        new |= {effect for _, message, _, effect in readable if not message.ONCE}
        duplicates = len(readable) - len(new)
        if self._read_ahead is not None:
            fresh = [message for _, message, _, effect in readable if effect in new]
            self._read_ahead(fresh, unit.records)
        handled: list[tuple[Message, Span]] = []
        for delivery, message, envelope, effect in readable:
            if effect not in new:
                continue
            new.discard(effect)
            span = spans.of_message(delivery, message, envelope)
            handled.append((message, span))
            produced = self._call(message, effect, delivery, unit, span)
            outgoing += [self._bus.prepare(m, envelope.within(span.traceparent)) for m in produced]
        # A record that cannot be stored must show while the batch can still be taken apart.
        unit.records.flush()
        # Nothing is counted or published before it is sure that the batch is not taken apart.
        for delivery, refusal in refused:
            outgoing += self._rejected(delivery, refusal.reason, refusal.faults)
        MESSAGES.labels(deliveries[0].queue, "duplicate").inc(duplicates)
        MESSAGES.labels(deliveries[0].queue, "handled").inc(len(readable) - duplicates)
        for message, span in handled:
            spans.finish(message, span)
        return outgoing

    def _publish_all(self, outgoing: Sequence[Outgoing]) -> None:
        try:
            self._bus.publish_prepared(outgoing)
        except Unroutable as error:
            # The others are published; without a store this one can only be reported.
            log.warning("unroutable", detail=str(error))

    def _settle(self, delivery: Delivery, unit: Unit | None) -> list[Outgoing]:
        """``_one``, but for what ended the process whenever it was handled."""
        try:
            refuse_crashers(delivery)
        except Reject as error:
            return self._rejected(delivery, error.reason, error.faults)
        return self._one(delivery, unit)

    def _one(self, delivery: Delivery, unit: Unit | None) -> list[Outgoing]:
        """All that is to be published because of one delivery, failures included."""
        try:
            message, envelope, effect = _read(delivery)
            structlog.contextvars.bind_contextvars(trace_id=envelope.trace_id)
            with spans.handling(delivery, message, envelope) as span:
                if unit is None:
                    produced = list(self._call(message, effect, delivery, None, span))
                else:
                    with unit.part():
                        if message.ONCE and not unit.first_times(delivery.queue, [effect]):
                            MESSAGES.labels(delivery.queue, "duplicate").inc()
                            return []
                        produced = list(self._call(message, effect, delivery, unit, span))
                within = envelope.within(span.traceparent)
                outgoing = [self._bus.prepare(m, within) for m in produced]
        except Reject as error:
            return self._refused(delivery, error)
        except Retry as error:
            return self._retried(delivery, error.reason, error.after_s)
        except Unpublishable as error:
            # Each attempt would say the same.
            return self._rejected(delivery, f"what follows from it cannot be sent: {error}", ())
        except Unavailable:
            raise
        except Exception as error:
            # The runner's one broad except: a handler's fault must not stop the service.
            log.exception("handler_failed", queue=delivery.queue, key=delivery.original_key)
            return self._retried(delivery, _last_line(error), None)
        MESSAGES.labels(delivery.queue, "handled").inc()
        return outgoing

    def _call(
        self, message: Message, effect: str, delivery: Delivery, unit: Unit | None, span: Span
    ) -> Iterable[Message]:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Reject(f"{self._bus.principal} does not handle {message.TYPE}")
        records = unit.records if unit is not None else None
        now, trace = self._clock(), span.traceparent
        return handler(message, Context(now, effect, delivery.attempt, records, trace))

    def _retried(self, delivery: Delivery, reason: str, after_s: float | None) -> list[Outgoing]:
        delays = topology.RETRY_DELAYS_S
        if delivery.attempt > len(delays):
            return self._rejected(delivery, f"{reason} (after {delivery.attempt} attempts)", ())
        delay = delays[delivery.attempt - 1]
        if after_s is not None:
            delay = min((d for d in delays if d >= after_s), default=delays[-1])
        MESSAGES.labels(delivery.queue, "retried").inc()
        log.warning(
            "retry",
            queue=delivery.queue,
            key=delivery.original_key,
            reason=reason,
            attempt=delivery.attempt,
            after_s=delay,
        )
        headers = kept_headers(delivery) | {ATTEMPT: delivery.attempt + 1}
        waiting = topology.retry_exchange(self._bus.principal, delay)
        return [copy(delivery, waiting, delivery.queue, headers)]

    def _refused(self, delivery: Delivery, error: Reject) -> list[Outgoing]:
        """A dead letter, unless a handler declined a request and there is somebody to answer."""
        refused = None
        if isinstance(error, Declined):
            reason = error.reason[:_MAX_REASON]
            refused = answer(self._bus, delivery, reason, error.faults, self._clock())
        if refused is None:
            return self._rejected(delivery, error.reason, error.faults)
        MESSAGES.labels(delivery.queue, "declined").inc()
        log.info("declined", queue=delivery.queue, reason=error.reason[:_MAX_REASON])
        return [refused]

    def _rejected(
        self, delivery: Delivery, reason: str, faults: tuple[Fault, ...]
    ) -> list[Outgoing]:
        MESSAGES.labels(delivery.queue, "rejected").inc()
        log.warning("dead_letter", queue=delivery.queue, key=delivery.original_key, reason=reason)
        headers = kept_headers(delivery) | {
            "x-reason": reason[:_MAX_REASON],
            "x-attempts": delivery.attempt,
            "x-dead-lettered-at": self._clock().isoformat(),
        }
        own = topology.own_queues_exchange(self._bus.principal)
        dead = copy(delivery, own, topology.dead_letter_name(delivery.queue), headers)
        refused = answer(self._bus, delivery, reason[:_MAX_REASON], faults, self._clock())
        return [dead] if refused is None else [dead, refused]


def _read(delivery: Delivery) -> tuple[Message, Envelope, str]:
    """The message, its envelope and what names its effect.

    Raises:
        Reject: for whatever keeps it from being read: the next attempt would read the same bytes.
    """
    try:
        message, envelope = decode(delivery), Envelope.of(delivery)
        return message, envelope, _effect_id(message, envelope)
    except (Reject, MemoryError):
        raise
    except Exception as error:
        log.exception("unreadable", queue=delivery.queue, key=delivery.original_key)
        raise Reject(f"it cannot be read: {_last_line(error)}") from error


def _effect_id(message: Message, envelope: Envelope) -> str:
    """The key of the effect: the message's own key, or else the sender's id of the event."""
    return envelope.id if message.dedupe_key() is None else message.message_id()


def refuse_crashers(delivery: Delivery) -> None:
    """Reject what the process itself ended over too often."""
    if delivery.crashes >= MAX_CRASHES:
        raise Reject(f"the process ended {delivery.crashes} times while it handled this message")


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()[:2000]


def utc_now() -> datetime:
    """The clock services use unless given another."""
    return datetime.now(UTC)
