"""Copies of deliveries for retries and dead letters, with bounded headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.messaging import Delivery, Outgoing
from shared.messaging.envelope import (
    ATTEMPT,
    ORIGINAL_EXCHANGE,
    ORIGINAL_KEY,
    PREFIX,
    bounded_identity,
)

LEFT_OUT = "x-headers-left-out"
"""The header with the number of the sender's headers that a copy does not have."""

_MAX_KEPT_BYTES = 16 * 1024
"""The bytes for a sender's headers in a copy; the rest of a frame is for ours."""
_MAX_NAME = 200
"""Bytes of a header's name; AMQP takes 255."""
_MAX_VALUE = 2_000
_MAX_INTEGER = 1 << 63
"""AMQP's integers have 64 bits and a sign, its times have none."""
_OURS = (PREFIX, "traceparent", ATTEMPT, ORIGINAL_KEY, ORIGINAL_EXCHANGE)
_OF_THE_BROKER = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-")
"""The broker's count of deliveries, which each queue keeps itself: a copy starts again."""
_ADDRESSES = {"CC", "BCC"}
"""Further keys of the sender's own message, which the broker reads. In a copy they would address it
again, and as the text that becomes of a list here the broker refuses them, and the channel."""


def kept_headers(delivery: Delivery) -> dict[str, Any]:
    """The headers of ``delivery`` that go with a copy of it, and where it was published first."""
    first = {ORIGINAL_KEY: delivery.routing_key, ORIGINAL_EXCHANGE: delivery.exchange}
    if delivery.returned:
        noted = {name: delivery.headers[name] for name in first if name in delivery.headers}
        first |= {name: _text(str(value)[:_MAX_NAME]) for name, value in noted.items()}
    # A sender's own headers about its origin are not trusted.
    return _bounded(delivery.headers) | first


def copy(delivery: Delivery, exchange: str, key: str, headers: dict[str, Any]) -> Outgoing:
    """``delivery`` as a new message for ``exchange``."""
    given = bounded_identity(delivery.content_type or "application/json")
    return Outgoing(
        exchange,
        key,
        delivery.body,
        delivery.identity,
        headers,
        given,
        mandatory=True,
    )


def _bounded(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers as JSON and a frame can hold them: outside publishers may send any AMQP type.

    Those the platform reads come first; of the others as many are kept as there is room for.
    """
    names = [
        name for name in headers if name not in _ADDRESSES and not name.startswith(_OF_THE_BROKER)
    ]
    kept: dict[str, Any] = {}
    room = _MAX_KEPT_BYTES
    for name in sorted(names, key=lambda name: not name.startswith(_OURS)):
        value, text = _plain(headers[name]), _text(name)
        named = len(text.encode())
        size = named + len(str(value).encode())
        if named <= _MAX_NAME and size <= room and name != LEFT_OUT:
            kept[text] = value
            room -= size
    return kept if len(kept) == len(names) else kept | {LEFT_OUT: len(names) - len(kept)}


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, bool | int) and abs(value) < _MAX_INTEGER):
        return value
    return _text(str(value)[:_MAX_VALUE])


def _text(value: str) -> str:
    """``value`` without what JSON and databases refuse."""
    whole = value.encode("utf-8", "replace").decode()
    return whole.replace("\0", "\N{REPLACEMENT CHARACTER}")
