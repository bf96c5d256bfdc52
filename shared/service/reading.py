"""Decodes a delivery: its message, its envelope, and the key of its effect."""

from __future__ import annotations

import traceback

import structlog

from shared.contracts import Message
from shared.messaging import Delivery, Envelope, Reject, decode
from shared.messaging.crash_marks import MAX_CRASHES

log = structlog.get_logger(__name__)


def read(delivery: Delivery) -> tuple[Message, Envelope, str]:
    """The message, its envelope and the key of its effect.

    Raises:
        Reject: if it cannot be read: another attempt would read the same bytes.
    """
    try:
        message, envelope = decode(delivery), Envelope.of(delivery)
        return message, envelope, _effect_id(message, envelope)
    except (Reject, MemoryError):
        raise
    except Exception as error:
        log.exception("message_unreadable", queue=delivery.queue, key=delivery.original_key)
        raise Reject(f"it cannot be read: {last_line(error)}") from error


def _effect_id(message: Message, envelope: Envelope) -> str:
    """The key of the effect: the message's own key, or else the sender's id of the event."""
    return envelope.id if message.dedupe_key() is None else message.message_id()


def refuse_crashers(delivery: Delivery) -> None:
    """Reject a delivery over which the process has died too often."""
    if delivery.crashes >= MAX_CRASHES:
        raise Reject(f"the process ended {delivery.crashes} times while it handled this message")


def last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()[:2000]
