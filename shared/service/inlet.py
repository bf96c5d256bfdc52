"""Settles deliveries: decode, handle, publish, then acknowledge, retry or dead-letter."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from shared import log_lines, topology
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
)
from shared.messaging.envelope import ATTEMPT
from shared.observe import HANDLING, MESSAGES
from shared.service import spans
from shared.service.context import Context, Handler, ReadAhead
from shared.service.copies import copy, kept_headers
from shared.service.outbox import as_queued, send_or_leave
from shared.service.reading import last_line, read, refuse_crashers
from shared.service.refusals import answer
from shared.store import Queued, Store, Unit
from shared.traces import Span
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

_MAX_REASON = 4_000


@dataclass
class Attempt:
    """One attempt to settle a batch, in a transaction if there is a store."""

    unit: Unit | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    """The number of deliveries by outcome, counted when the attempt has committed."""


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
            attempt = Attempt()
            self._publish_all([out for d in deliveries for out in self._settle(d, attempt)])
            _count(queue, attempt)
        else:
            with log_lines.together():
                queued, attempt = self._commit(self._store, deliveries)
            # A transaction that did not become durable is tried again, and would count twice.
            _count(queue, attempt)
            send_or_leave(self._bus, self._store, queued)
        HANDLING.labels(queue).observe(time.perf_counter() - started)
        self._after()

    def _commit(self, store: Store, deliveries: Sequence[Delivery]) -> tuple[list[Queued], Attempt]:
        """Handle the batch in one transaction, with the resulting messages in the outbox."""
        if len(deliveries) > 1:
            try:
                with store.unit() as unit:
                    attempt = Attempt(unit)
                    together = self._together(deliveries, unit, attempt)
                    queued = unit.enqueue([as_queued(out) for out in together])
            except Unavailable:
                raise
            except Declined:
                pass  # an ordinary answer: everything is undone and handled one by one, as below
            except Exception:
                # Everything is undone. One by one, in savepoints, the failure stays with the
                # delivery that caused it; handlers have no effect but their records.
                log.info(
                    "batch_taken_apart",
                    queue=deliveries[0].queue,
                    size=len(deliveries),
                    exc_info=True,
                )
            else:
                return queued, attempt
        with store.unit() as unit:
            attempt = Attempt(unit)
            outgoing = [out for d in deliveries for out in self._settle(d, attempt)]
            queued = unit.enqueue([as_queued(out) for out in outgoing])
        return queued, attempt

    def _together(
        self, deliveries: Sequence[Delivery], unit: Unit, attempt: Attempt
    ) -> list[Outgoing]:
        """Handle the whole batch at once: three statements instead of three for each delivery."""
        outgoing: list[Outgoing] = []
        readable: list[tuple[Delivery, Message, Envelope, str]] = []
        refused: list[tuple[Delivery, Reject]] = []
        for delivery in deliveries:
            try:
                refuse_crashers(delivery)
                readable.append((delivery, *read(delivery)))
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
        # A record that cannot be stored must fail while the batch can still be split.
        unit.records.flush()
        # Nothing is logged as dead before it is certain that the batch is not split.
        for delivery, refusal in refused:
            outgoing += self._rejected(delivery, refusal.reason, refusal.faults, attempt)
        attempt.outcomes["duplicate"] += duplicates
        attempt.outcomes["handled"] += len(readable) - duplicates
        for message, span in handled:
            spans.finish(message, span)
        return outgoing

    def _publish_all(self, outgoing: Sequence[Outgoing]) -> None:
        try:
            self._bus.publish_prepared(outgoing)
        except Unroutable as error:
            # The others are published; without a store this one can only be reported.
            log.warning("message_unroutable", detail=str(error))

    def _settle(self, delivery: Delivery, attempt: Attempt) -> list[Outgoing]:
        """``_one``, except for a delivery over which the process died each time."""
        try:
            refuse_crashers(delivery)
        except Reject as error:
            return self._rejected(delivery, error.reason, error.faults, attempt)
        return self._one(delivery, attempt)

    def _one(self, delivery: Delivery, attempt: Attempt) -> list[Outgoing]:
        """The messages to publish because of one delivery, failures included."""
        unit = attempt.unit
        try:
            message, envelope, effect = read(delivery)
            structlog.contextvars.bind_contextvars(trace_id=envelope.trace_id)
            with spans.handling(delivery, message, envelope) as span:
                if unit is None:
                    produced = list(self._call(message, effect, delivery, None, span))
                else:
                    with unit.part():
                        if message.ONCE and not unit.first_times(delivery.queue, [effect]):
                            attempt.outcomes["duplicate"] += 1
                            return []
                        produced = list(self._call(message, effect, delivery, unit, span))
                within = envelope.within(span.traceparent) if produced else envelope
                outgoing = [self._bus.prepare(m, within) for m in produced]
        except Reject as error:
            return self._refused(delivery, error, attempt)
        except Retry as error:
            return self._retried(delivery, error.reason, error.after_s, attempt)
        except Unpublishable as error:
            # Each attempt would have the same result.
            reason = f"what follows from it cannot be sent: {error}"
            return self._rejected(delivery, reason, (), attempt)
        except Unavailable:
            raise
        except Exception as error:
            # The runner's one broad except: a handler's fault must not stop the service.
            log.exception("handler_failed", queue=delivery.queue, key=delivery.original_key)
            return self._retried(delivery, last_line(error), None, attempt)
        attempt.outcomes["handled"] += 1
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

    def _retried(
        self, delivery: Delivery, reason: str, after_s: float | None, attempt: Attempt
    ) -> list[Outgoing]:
        delays = topology.RETRY_DELAYS_S
        if delivery.attempt > len(delays):
            last = f"{reason} (after {delivery.attempt} attempts)"
            return self._rejected(delivery, last, (), attempt)
        delay = delays[delivery.attempt - 1]
        if after_s is not None:
            delay = min((d for d in delays if d >= after_s), default=delays[-1])
        attempt.outcomes["retried"] += 1
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

    def _refused(self, delivery: Delivery, error: Reject, attempt: Attempt) -> list[Outgoing]:
        """A dead letter, or an answer if a handler declined a request that can be answered."""
        refused = None
        if isinstance(error, Declined):
            reason = error.reason[:_MAX_REASON]
            refused = answer(self._bus, delivery, reason, error.faults, self._clock())
        if refused is None:
            return self._rejected(delivery, error.reason, error.faults, attempt)
        attempt.outcomes["declined"] += 1
        log.info("message_declined", queue=delivery.queue, reason=error.reason[:_MAX_REASON])
        return [refused]

    def _rejected(
        self, delivery: Delivery, reason: str, faults: tuple[Fault, ...], attempt: Attempt
    ) -> list[Outgoing]:
        attempt.outcomes["rejected"] += 1
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


def _count(queue: str, attempt: Attempt) -> None:
    for outcome, number in attempt.outcomes.items():
        MESSAGES.labels(queue, outcome).inc(number)


def utc_now() -> datetime:
    """The clock services use unless given another."""
    return datetime.now(UTC)
