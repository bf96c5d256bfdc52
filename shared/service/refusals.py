"""Answers to outside publishers whose request is not valid."""

from __future__ import annotations

from datetime import datetime

import orjson
import structlog

from shared import topology
from shared.contracts import Fault, RequestRefused, message_types
from shared.messaging import Bus, Delivery, Envelope, Outgoing, Reject, message_class
from shared.messaging.envelope import bounded_identity

log = structlog.get_logger(__name__)


def answer(
    bus: Bus, delivery: Delivery, reason: str, faults: tuple[Fault, ...], now: datetime
) -> Outgoing | None:
    """The refusal of a message that outsiders may send; None where there is nobody to answer."""
    try:
        return _refusal(bus, delivery, faults or (Fault(field="", problem=reason),), now)
    except Exception:
        # The sender cannot be answered with a valid message; a dead letter has the reason.
        log.exception("refusal_failed", queue=delivery.queue, key=delivery.original_key)
        return None


def _refusal(
    bus: Bus, delivery: Delivery, faults: tuple[Fault, ...], now: datetime
) -> Outgoing | None:
    try:
        request_type = message_class(delivery).TYPE
    except Reject:
        request_type = "unknown"
    request = message_types().get(request_type)
    answers = topology.may_publish(bus.principal, RequestRefused)
    asked = request is None or topology.may_publish(topology.Principal.OUTSIDE, request)
    if not (answers and asked):
        return None
    stated = delivery.headers.get("cloudEvents_id")
    refused = RequestRefused(
        request_type=request_type,
        request_id=bounded_identity(str(stated)) if stated else delivery.identity,
        job_id=_named_job(delivery.body),
        faults=faults,
        at=now,
    )
    return bus.prepare(refused, Envelope.of(delivery))


def _named_job(body: bytes) -> str:
    """The job id a broken message names, if it can be read at all."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    job_id = value.get("job_id") if isinstance(value, dict) else None
    return job_id[:128] if isinstance(job_id, str) else ""
