"""The envelope: CloudEvents attributes and the trace in AMQP headers, the data in the body."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from shared import topology
from shared.contracts import Fault, Message, message_types
from shared.messaging.errors import Reject
from shared.topology import Principal

PREFIX = "cloudEvents_"
ATTEMPT = "x-attempt"
ORIGINAL_KEY = "x-original-routing-key"
ORIGINAL_EXCHANGE = "x-original-exchange"
DELIVERY_COUNT = "x-delivery-count"
PUBLISHED_MS = "x-published-ms"
"""When a batch of samples was handed to its stream."""

_TYPE = re.compile(r"^(?:barograph\.)?(?P<name>.+?)(?:\.v(?P<major>\d+))?$")
_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
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

    @property
    def original_key(self) -> str:
        """The key it was first published with, also after waiting in a retry queue."""
        return str(self.headers.get(ORIGINAL_KEY) or self.routing_key)

    @property
    def attempt(self) -> int:
        """1 for the first attempt. Outside publishers may have put anything there."""
        value = self.headers.get(ATTEMPT, 1)
        return value if isinstance(value, int) and value >= 1 else 1

    @property
    def crashes(self) -> int:
        """How often it was handed out before without being settled (quorum queues count)."""
        value = self.headers.get(DELIVERY_COUNT, 0)
        return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who said it, when, and as part of which trace."""

    id: str
    type: str
    source: str
    subject: str = ""
    traceparent: str = ""

    @classmethod
    def of(cls, delivery: Delivery) -> Envelope:
        """What the headers of ``delivery`` say; absent parts get neutral values."""
        headers = delivery.headers
        return cls(
            id=str(headers.get(PREFIX + "id") or delivery.message_id or uuid.uuid4()),
            type=str(headers.get(PREFIX + "type") or ""),
            source=str(headers.get(PREFIX + "source") or "outside"),
            subject=str(headers.get(PREFIX + "subject") or ""),
            traceparent=str(headers.get("traceparent") or ""),
        )


def headers_for(
    message: Message, message_id: str, source: str, cause: Envelope | None
) -> dict[str, Any]:
    """The AMQP headers of a new message; its trace continues the cause's."""
    headers: dict[str, Any] = {
        PREFIX + "specversion": "1.0",
        PREFIX + "id": message_id,
        PREFIX + "type": event_type(type(message)),
        PREFIX + "source": source,
        _TIMESTAMP_HEADER: datetime.fromtimestamp(time.time(), UTC).isoformat(),
        "traceparent": child_trace(cause.traceparent if cause else ""),
    }
    subject = message.subject()
    if subject:
        headers[PREFIX + "subject"] = subject
    return headers


def event_type(message_type: type[Message]) -> str:
    """The CloudEvents ``type``, e.g. ``barograph.job.submit.v1``."""
    return f"barograph.{message_type.TYPE}.v{message_type.VERSION}"


def child_trace(parent: str) -> str:
    """A W3C ``traceparent`` in the same trace as ``parent``, or in a new one."""
    match = _TRACEPARENT.match(parent)
    trace = match.group(1) if match else secrets.token_hex(16)
    return f"00-{trace}-{secrets.token_hex(8)}-01"


def message_class(delivery: Delivery) -> type[Message]:
    """Which message this is, by its CloudEvents type or else by its routing key.

    Raises:
        Reject: for an unknown type or an unknown major version.
    """
    declared = delivery.headers.get(PREFIX + "type")
    if not declared:
        return _class_by_key(delivery.original_key)
    match = _TYPE.match(str(declared))
    found = message_types().get(match["name"]) if match else None
    if match is None or found is None:
        raise Reject(f"unknown message type {str(declared)[:200]!r}")
    if match["major"] is not None and int(match["major"]) != found.VERSION:
        reason = f"{found.TYPE} version {match['major']} is unknown; known is {found.VERSION}"
        raise Reject(reason)
    return found


def _class_by_key(key: str) -> type[Message]:
    for route in topology.ROUTES:
        if key == route.key_prefix or (route.words and key.startswith(route.key_prefix + ".")):
            return route.message
    raise Reject(f"no message has the routing key {key[:200]!r}")


def decode(delivery: Delivery) -> Message:
    """The message in ``delivery``.

    Raises:
        Reject: naming every fault when the body is not what the contract says; and for what a
            member published with another job's routing key.
    """
    found = message_class(delivery)
    try:
        message = found.model_validate_json(delivery.body)
    except ValidationError as error:
        faults = tuple(
            Fault(field=".".join(str(part) for part in e["loc"]), problem=e["msg"])
            for e in error.errors(include_url=False, include_input=False, include_context=False)
        )
        summary = "; ".join(f"{fault.field or 'body'}: {fault.problem}" for fault in faults[:20])
        raise Reject(f"not a valid {found.TYPE}: {summary}", faults) from None
    _check_key(delivery, message)
    return message


def _check_key(delivery: Delivery, message: Message) -> None:
    """Refuse what a member says of a job it is not of: the broker has checked the key, no more."""
    # Straight to a queue come retries and replays; where they were published first, a service of
    # ours has noted, and not who published.
    key = delivery.original_key if not delivery.exchange else delivery.routing_key
    found = type(message)
    if topology.may_publish(Principal.MEMBER, found) and key != message.routing_key():
        raise Reject(
            f"a {found.TYPE} that speaks of another job than its routing key {key[:200]!r}"
        )
