"""From deliveries to settled deliveries: decode, handle, publish, retry or dead-letter."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from shared import topology
from shared.contracts import Fault, Message, RequestRefused, message_types
from shared.messaging import (
    Bus,
    Delivery,
    Envelope,
    Outgoing,
    Reject,
    Retry,
    Unroutable,
    decode,
    message_class,
)
from shared.messaging.envelope import ATTEMPT, ORIGINAL_EXCHANGE, ORIGINAL_KEY
from shared.observe import HANDLING, MESSAGES
from shared.service.context import Context, Handler, ReadAhead
from shared.service.outbox import as_queued, send_or_leave
from shared.store import Queued, Store, StoreUnavailable, Unit

log = structlog.get_logger(__name__)

_MOST_CRASHES = 10
"""A message handed out this often without being settled takes the process down; park it."""


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
            self._publish_all([out for d in deliveries for out in self._one(d, None)])
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
            except _HandlerFailedError:
                # All undone. One by one, each in a part of its own, the failure stays with the
                # delivery that caused it; handlers have no effect but their records.
                log.info("batch_taken_apart", queue=deliveries[0].queue, size=len(deliveries))
        with store.unit() as unit:
            outgoing = [out for d in deliveries for out in self._one(d, unit)]
            return unit.enqueue([as_queued(out) for out in outgoing])

    def _together(self, deliveries: Sequence[Delivery], unit: Unit) -> list[Outgoing]:
        """All of the batch at once: three statements instead of three for each delivery."""
        outgoing: list[Outgoing] = []
        readable: list[tuple[Delivery, Message, Envelope, str]] = []
        refused: list[tuple[Delivery, Reject]] = []
        for delivery in deliveries:
            try:
                _refuse_crashers(delivery)
                message, envelope = decode(delivery), Envelope.of(delivery)
                readable.append((delivery, message, envelope, _effect_id(message, envelope)))
            except Reject as error:
                refused.append((delivery, error))
        once = [effect for _, message, _, effect in readable if message.ONCE]
        new = unit.first_times(deliveries[0].queue, once)
        new |= {effect for _, message, _, effect in readable if not message.ONCE}
        duplicates = len(readable) - len(new)
        if self._read_ahead is not None:
            fresh = [message for _, message, _, effect in readable if effect in new]
            self._read_ahead(fresh, unit.records)
        for delivery, message, envelope, effect in readable:
            if effect not in new:
                continue
            new.discard(effect)
            try:
                produced = self._call(message, effect, delivery, unit)
                outgoing += [self._bus.prepare(m, envelope) for m in produced]
            except StoreUnavailable:
                raise
            except Exception as error:
                raise _HandlerFailedError from error
        # Nothing is counted or told before it is sure that the batch is not taken apart.
        for delivery, refusal in refused:
            outgoing += self._rejected(delivery, refusal.reason, refusal.faults)
        MESSAGES.labels(deliveries[0].queue, "duplicate").inc(duplicates)
        MESSAGES.labels(deliveries[0].queue, "handled").inc(len(readable) - duplicates)
        return outgoing

    def _publish_all(self, outgoing: Sequence[Outgoing]) -> None:
        try:
            self._bus.publish_prepared(outgoing)
        except Unroutable as error:
            # The others are published; without a store this one can only be told of.
            log.warning("unroutable", detail=str(error))

    def _one(self, delivery: Delivery, unit: Unit | None) -> list[Outgoing]:
        """All that is to be published because of one delivery, failures included."""
        try:
            _refuse_crashers(delivery)
            message = decode(delivery)
            envelope = Envelope.of(delivery)
            effect = _effect_id(message, envelope)
            if unit is None:
                produced = list(self._call(message, effect, delivery, None))
            else:
                with unit.part():
                    first = not message.ONCE or unit.first_times(delivery.queue, [effect])
                    produced = list(self._call(message, effect, delivery, unit)) if first else []
                if not first:
                    MESSAGES.labels(delivery.queue, "duplicate").inc()
                    return []
            outgoing = [self._bus.prepare(m, envelope) for m in produced]
        except Reject as error:
            return self._rejected(delivery, error.reason, error.faults)
        except Retry as error:
            return self._retried(delivery, error.reason, error.after_s)
        except StoreUnavailable:
            raise
        except Exception as error:
            # The runner's one broad except: a handler's fault must not stop the service.
            log.exception("handler_failed", queue=delivery.queue, key=delivery.original_key)
            return self._retried(delivery, _last_line(error), None)
        MESSAGES.labels(delivery.queue, "handled").inc()
        return outgoing

    def _call(
        self, message: Message, effect: str, delivery: Delivery, unit: Unit | None
    ) -> Iterable[Message]:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Reject(f"{self._bus.principal} does not handle {message.TYPE}")
        records = unit.records if unit is not None else None
        return handler(message, Context(self._clock(), effect, delivery.attempt, records))

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
        headers = _kept_headers(delivery) | {ATTEMPT: delivery.attempt + 1}
        return [_copy(delivery, topology.retry_name(delay), headers)]

    def _rejected(
        self, delivery: Delivery, reason: str, faults: tuple[Fault, ...]
    ) -> list[Outgoing]:
        MESSAGES.labels(delivery.queue, "rejected").inc()
        log.warning("dead_letter", queue=delivery.queue, key=delivery.original_key, reason=reason)
        headers = _kept_headers(delivery) | {
            "x-reason": reason[:4000],
            "x-attempts": delivery.attempt,
            "x-dead-lettered-at": self._clock().isoformat(),
        }
        dead = _copy(delivery, topology.DEAD_LETTERS, headers)
        refused = self._refusal(delivery, reason, faults)
        return [dead] if refused is None else [dead, refused]

    def _refusal(
        self, delivery: Delivery, reason: str, faults: tuple[Fault, ...]
    ) -> Outgoing | None:
        """The answer to an outside publisher, for the messages outsiders may send."""
        try:
            request_type = message_class(delivery).TYPE
        except Reject:
            request_type = "unknown"
        request = message_types().get(request_type)
        answers = topology.may_publish(self._bus.principal, RequestRefused)
        asked = request is None or topology.may_publish(topology.Principal.OUTSIDE, request)
        if not (answers and asked):
            return None
        digest = hashlib.sha256(delivery.body).hexdigest()
        refused = RequestRefused(
            request_type=request_type,
            request_id=str(delivery.headers.get("cloudEvents_id") or delivery.message_id or digest),
            job_id=_named_job(delivery.body),
            faults=faults or (Fault(field="", problem=reason),),
            at=self._clock(),
        )
        return self._bus.prepare(refused, Envelope.of(delivery))


class _HandlerFailedError(Exception):
    """Some handler of a batch raised; the batch is to be handled one by one."""


def _effect_id(message: Message, envelope: Envelope) -> str:
    """What names the effect: the message's own key, or else the sender's id of the event."""
    return envelope.id if message.dedupe_key() is None else message.message_id()


def _refuse_crashers(delivery: Delivery) -> None:
    if delivery.crashes >= _MOST_CRASHES:
        raise Reject(f"handed out {delivery.crashes} times without being settled")


def _kept_headers(delivery: Delivery) -> dict[str, Any]:
    kept = {k: v for k, v in delivery.headers.items() if not k.startswith("x-death")}
    if delivery.exchange:  # published to it, and not by us to the queue for another attempt
        kept |= {ORIGINAL_KEY: delivery.routing_key, ORIGINAL_EXCHANGE: delivery.exchange}
    kept.pop("x-first-death-reason", None)
    # The broker keeps its own count on each queue; a copy starts anew.
    kept.pop("x-delivery-count", None)
    return _plain(kept)


def _plain(headers: dict[str, Any]) -> dict[str, Any]:
    """Headers as JSON can hold them: outside publishers may send any AMQP type."""
    simple = (str, int, float, bool, type(None))
    return {
        str(k)[:200]: (v if isinstance(v, simple) else str(v)[:1000]) for k, v in headers.items()
    }


def _copy(delivery: Delivery, exchange: str, headers: dict[str, Any]) -> Outgoing:
    return Outgoing(
        exchange,
        delivery.queue,
        delivery.body,
        delivery.message_id or hashlib.sha256(delivery.body).hexdigest(),
        headers,
        delivery.content_type or "application/json",
        mandatory=True,
    )


def _named_job(body: bytes) -> str:
    """The job id a broken message names, if it can be read at all."""
    import orjson  # noqa: PLC0415 - only on the path of broken messages

    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    job_id = value.get("job_id") if isinstance(value, dict) else None
    return job_id[:128] if isinstance(job_id, str) else ""


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()[:2000]


def utc_now() -> datetime:
    """The clock services use unless given another."""
    return datetime.now(UTC)
