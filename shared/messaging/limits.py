"""The limits of AMQP and the broker on one message: checked before it is stored or published.

A message that breaks a limit ends the connection it is published on, and everything after it
waits; it comes from the outbox again on the next connection. So it is found here, alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from pika import BasicProperties
from pika.exceptions import AMQPError

MAX_KEY_BYTES = 255
"""AMQP's short string: names of exchanges, routing keys, message ids, content types."""

MAX_HEADER_BYTES = 64 * 1024
"""Half of a frame: the broker adds headers of its own before it hands a message out."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""RabbitMQ 4's own limit of a body."""

_PLAIN_CHARACTERS = 4_000
_PLAIN_WORD = 120


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message ready to be published."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    headers: dict[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    mandatory: bool = True


class EncodedProperties:
    """Properties for pika, encoded once, so that the measured bytes are those that are sent."""

    INDEX = BasicProperties.INDEX

    def __init__(self, message: Outgoing) -> None:
        properties = BasicProperties(
            content_type=message.content_type,
            headers=message.headers,
            delivery_mode=2,
            message_id=message.message_id,
        )
        self._pieces: list[bytes] = properties.encode()
        self.size = sum(map(len, self._pieces))

    def encode(self) -> list[bytes]:
        """The encoded pieces; a new list, as pika puts more before them."""
        return [*self._pieces]


def encoded(message: Outgoing) -> EncodedProperties:
    """The properties of ``message``, if all of it keeps AMQP's limits.

    Raises:
        ValueError: naming the limit that is broken.
    """
    for what, text in (("exchange", message.exchange), ("routing key", message.routing_key)):
        if len(text) > MAX_KEY_BYTES or len(text.encode("utf-8", "replace")) > MAX_KEY_BYTES:
            raise ValueError(f"its {what} is longer than {MAX_KEY_BYTES} bytes: {text[:60]!r}…")
    if len(message.body) > MAX_MESSAGE_BYTES:
        raise ValueError(
            f"its body has {len(message.body)} bytes; {MAX_MESSAGE_BYTES} are the most"
        )
    try:
        message.routing_key.encode()
        properties = EncodedProperties(message)
    except (AMQPError, ArithmeticError, TypeError, ValueError, RecursionError, struct.error) as e:
        raise ValueError(f"it cannot be encoded: {type(e).__name__}: {str(e)[:200]}") from e
    if properties.size > MAX_HEADER_BYTES:
        raise ValueError(
            f"its headers take {properties.size} bytes; {MAX_HEADER_BYTES} are the most"
        )
    return properties


def fault_of(message: Outgoing) -> str:
    """Return why ``message`` can never be published; nothing when it can."""
    if _is_plain(message):
        return ""
    try:
        encoded(message)
    except ValueError as error:
        return str(error)
    return ""


def _is_plain(message: Outgoing) -> bool:
    """Return whether it is far from every limit, so that encoding it for trial would find nothing.

    Nearly all messages are: short ASCII texts in every header. The trial costs as much as
    publishing the message does.
    """
    words = (message.exchange, message.routing_key, message.message_id, message.content_type)
    texts = (*words, *message.headers, *message.headers.values())
    if len(message.body) > MAX_MESSAGE_BYTES or set(map(type, texts)) != {str}:
        return False
    whole = "".join(texts)
    longest = max(map(len, (*words, *message.headers)))
    return whole.isascii() and len(whole) <= _PLAIN_CHARACTERS and longest <= _PLAIN_WORD
