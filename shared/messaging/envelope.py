"""The envelope: CloudEvents attributes and the trace in AMQP headers, the data in the body."""

from __future__ import annotations

import codecs
import hashlib
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from pydantic import ValidationError

from shared import topology, traces
from shared.contracts import Fault, Message, message_types
from shared.messaging.errors import Reject
from shared.topology import Principal
from shared.validation import problem_of

PREFIX = "cloudEvents_"
ATTEMPT = "x-attempt"
ORIGINAL_KEY = "x-original-routing-key"
ORIGINAL_EXCHANGE = "x-original-exchange"
DELIVERY_COUNT = "x-delivery-count"
ACQUIRED_COUNT = "x-acquired-count"
"""RabbitMQ 4 counts every handing out of a message here."""
PUBLISHED_MS = "x-published-ms"
"""The time at which a batch of samples was handed to its stream."""
PARTITION_COUNT = "x-partitions"
"""The header with the number of partitions that the sender of a batch of samples counts."""

OWN_QUEUES = frozenset(topology.own_queues_exchange(principal) for principal in Principal)
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Larger bodies are refused unread: what a message's contract allows is far smaller."""

_MAX_IDENTITY = 200
"""Bytes: an id is a property of the message, which has 255 of them, and a column of the store."""
_MAX_ATTRIBUTE = 500
_MAX_FAULTS = 100
_MAX_FAULT_FIELD = 200
_MAX_FAULT_PROBLEM = 500
_TYPE = re.compile(r"^(?:barograph\.)?(?P<name>[a-z.-]{1,100}?)(?:\.v(?P<major>[0-9]{1,6}))?$")
_TIMESTAMP_HEADER = PREFIX + "time"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the broker handed it over."""

    queue: str
    tag: int
    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    message_id: str | None
    content_type: str | None
    body: bytes
    redelivered: bool = False
    crashes: int = 0
    """The number of times this process died while it handled this message and no other."""

    @property
    def returned(self) -> bool:
        """True if its consumer or an operator sent it here again, and no publisher can have."""
        return not self.exchange or self.exchange in OWN_QUEUES

    @property
    def original_key(self) -> str:
        """The key it was first published with, also after waiting in a retry queue."""
        noted = self.headers.get(ORIGINAL_KEY) if self.returned else None
        return str(noted or self.routing_key)

    @property
    def sender(self) -> Principal | None:
        """The publisher, known by its exchange, to which nobody else may write; None: an operator.

        Raises:
            Reject: when it came over an exchange that is no sender's.
        """
        exchange = self.exchange
        if self.returned:
            exchange = str(self.headers.get(ORIGINAL_EXCHANGE, exchange))
        if not exchange:
            return None
        found = topology.sender(exchange)
        if found is None:
            raise Reject(f"it came over the exchange {exchange[:200]!r}, which is no sender's")
        return found

    @property
    def attempt(self) -> int:
        """1 for the first attempt. Outside publishers may have put anything there."""
        value = self.headers.get(ATTEMPT, 1)
        return value if isinstance(value, int) and value >= 1 else 1

    @property
    def returns(self) -> int:
        """Return how often it came back to its queue, for whatever reason: a crash or an outage."""
        counts = (self.headers.get(name) for name in (DELIVERY_COUNT, ACQUIRED_COUNT))
        return max([0, *(count for count in counts if isinstance(count, int))])

    @property
    def identity(self) -> str:
        """A short id that identifies the message and that every store accepts."""
        return bounded_identity(self.message_id or hashlib.sha256(self.body).hexdigest())


@dataclass(frozen=True, slots=True)
class Envelope:
    """The sender, the time and the trace of a message."""

    id: str
    type: str
    source: str
    subject: str = ""
    traceparent: str = ""

    @property
    def trace_id(self) -> str:
        """The trace's id alone; empty without a trace."""
        found = traces.parts(self.traceparent)
        return found[0] if found else ""

    def within(self, traceparent: str) -> Envelope:
        """The same, as what follows from handling it has it for its cause."""
        return Envelope(self.id, self.type, self.source, self.subject, traceparent)

    @classmethod
    def of(cls, delivery: Delivery) -> Envelope:
        """The envelope that the headers of ``delivery`` give; absent parts get neutral values."""
        headers = delivery.headers
        return cls(
            id=bounded_identity(
                str(headers.get(PREFIX + "id") or delivery.message_id or uuid.uuid4())
            ),
            type=_attribute(headers, PREFIX + "type"),
            source=_attribute(headers, PREFIX + "source") or "outside",
            subject=_attribute(headers, PREFIX + "subject"),
            traceparent=_attribute(headers, "traceparent"),
        )


def bounded_identity(text: str) -> str:
    """``text`` as it is, or its digest where a store could not keep it or tell it from others."""
    if text.isprintable() and len(text.encode()) <= _MAX_IDENTITY:
        return text
    return "sha256-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _attribute(headers: Mapping[str, Any], name: str) -> str:
    return str(headers.get(name) or "")[:_MAX_ATTRIBUTE]


def headers_for(
    message: Message, message_id: str, source: str, cause: Envelope | None
) -> dict[str, Any]:
    """The AMQP headers of a new message; its trace is its job's, or continues the cause's."""
    headers: dict[str, Any] = {
        PREFIX + "specversion": "1.0",
        PREFIX + "id": message_id,
        PREFIX + "type": event_type(type(message)),
        PREFIX + "source": source,
        _TIMESTAMP_HEADER: datetime.fromtimestamp(time.time(), UTC).isoformat(),
        "traceparent": traces.following(cause.traceparent if cause else "", message.about_job()),
    }
    subject = message.subject()
    if subject:
        headers[PREFIX + "subject"] = subject
    return headers


@cache
def event_type(message_type: type[Message]) -> str:
    """The CloudEvents ``type``, e.g. ``barograph.job.submit.v1``."""
    return f"barograph.{message_type.TYPE}.v{message_type.VERSION}"


def message_class(delivery: Delivery) -> type[Message]:
    """The class of a message, by its CloudEvents type or else by its routing key.

    Raises:
        Reject: for an unknown type or an unknown major version.
    """
    declared = delivery.headers.get(PREFIX + "type")
    if not declared:
        return _class_by_key(delivery.original_key)
    return _class_by_type(str(declared)[:_MAX_ATTRIBUTE])


@lru_cache(256)
def _class_by_type(shown: str) -> type[Message]:
    match = _TYPE.match(shown)
    found = message_types().get(match["name"]) if match else None
    if match is None or found is None:
        raise Reject(f"unknown message type {shown[:200]!r}")
    if match["major"] is not None and int(match["major"]) != found.VERSION:
        reason = f"{found.TYPE} version {match['major']} is unknown; known is {found.VERSION}"
        raise Reject(reason)
    return found


def _class_by_key(key: str) -> type[Message]:
    for route in topology.ROUTES:
        if route.matches(key):
            return route.message
    raise Reject(f"no message has the routing key {key[:200]!r}")


def decode(delivery: Delivery) -> Message:
    """The message in ``delivery``.

    Raises:
        Reject: naming every fault when the body is not what the contract says; and for what its
            sender may not say, or not with this routing key.
    """
    if len(delivery.body) > MAX_BODY_BYTES:
        raise Reject(f"its body has {len(delivery.body)} bytes; {MAX_BODY_BYTES} are the most")
    found = message_class(delivery)
    try:
        # .NET's writers begin with a byte order mark, which a reader of JSON may pass over.
        message = found.model_validate_json(delivery.body.removeprefix(codecs.BOM_UTF8))
        _check_key(delivery, message)
    except ValidationError as error:
        faults = _faults(error)
        summary = "; ".join(f"{fault.field or 'body'}: {fault.problem}" for fault in faults[:20])
        raise Reject(f"not a valid {found.TYPE}: {summary}", faults) from None
    return message


def _faults(error: ValidationError) -> tuple[Fault, ...]:
    """The faults, in bounded words: a sender chooses field names and how many faults there are."""
    count = error.error_count()
    if count > _MAX_FAULTS:
        problem = f"{count} faults; of so many only the number is given"
        return (Fault(field="", problem=problem),)
    return tuple(
        Fault(
            field=_shown(".".join(str(part) for part in e["loc"]))[:_MAX_FAULT_FIELD],
            problem=_shown(problem_of(e))[:_MAX_FAULT_PROBLEM],
        )
        for e in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _shown(text: str) -> str:
    """``text`` without lone surrogates, which no body may hold."""
    return text.encode("utf-8", "replace").decode()


def _check_key(delivery: Delivery, message: Message) -> None:
    """Refuse a message that its sender may not send.

    The broker has checked the routing key and which exchange it went to, not the type or the
    body: a sender could name in them another message than its key, or another job.
    """
    found, key, sender = type(message), delivery.original_key, delivery.sender
    if sender is None:
        return
    if not topology.may_publish(sender, found):
        raise Reject(f"a {found.TYPE} from {sender}, which may not send any")
    if not topology.route_of(found).matches(key):
        raise Reject(f"a {found.TYPE} with the routing key {key[:200]!r} of another message")
    if sender is Principal.MEMBER and key != message.routing_key():
        raise Reject(
            f"a {found.TYPE} that speaks of another job than its routing key {key[:200]!r}"
        )
