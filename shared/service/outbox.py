"""A transaction's messages: in the store's outbox until the broker has confirmed them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from shared.messaging import (
    BrokerUnavailable,
    Bus,
    Outgoing,
    Refused,
    Unpublishable,
    Unroutable,
)
from shared.observe import PUBLISHED, SET_ASIDE
from shared.store import Queued, Store

log = structlog.get_logger(__name__)

_MAX_REFUSALS = 5
"""A message that the broker refused so often, sent alone, it will not take at all."""


def as_queued(out: Outgoing) -> Queued:
    """An outgoing message as the outbox keeps it (its content type among the headers)."""
    headers = dict(out.headers) | {"content-type": out.content_type}
    return Queued(out.exchange, out.routing_key, out.message_id, headers, out.body, out.mandatory)


def _as_outgoing(queued: Queued) -> Outgoing:
    headers = dict(queued.headers)
    content_type = headers.pop("content-type", "application/json")
    return Outgoing(
        queued.exchange,
        queued.routing_key,
        queued.body,
        queued.message_id,
        headers,
        content_type,
        queued.mandatory,
    )


def send_queued(bus: Bus, store: Store, queued: Sequence[Queued]) -> None:
    """Publish messages of the outbox and take the confirmed ones out.

    What cannot be routed yet stays for the relay: its consumer may not have started ever. What can
    never be published is set aside with the reason, and nothing waits for it.
    """
    queued = [each for each in queued if not each.set_aside]
    if not queued:
        return
    try:
        bus.publish_prepared([_as_outgoing(q) for q in queued])
    except (Unroutable, Unpublishable, Refused):
        for each in queued:
            _send_alone(bus, store, each)
        return
    store.sent([q.id for q in queued if q.id is not None])
    for each in queued:
        PUBLISHED.labels(str(each.headers.get("cloudEvents_type", "copy"))).inc()


def _send_alone(bus: Bus, store: Store, queued: Queued) -> None:
    number = queued.id
    if number is None:
        return
    try:
        bus.publish_prepared([_as_outgoing(queued)])
    except Unroutable as error:
        log.warning("unroutable", detail=str(error))
    except Unpublishable as error:
        _set_aside(store, queued, number, str(error))
    except Refused as error:
        if error.of_message and store.refused(number) >= _MAX_REFUSALS:
            _set_aside(store, queued, number, f"the broker does not take it: {bus.last_error}")
        else:
            log.warning("publish_refused", key=queued.routing_key, error=str(error))
    else:
        store.sent([number])


def _set_aside(store: Store, queued: Queued, number: int, reason: str) -> None:
    log.error("outbox_set_aside", id=number, key=queued.routing_key[:255], reason=reason)
    SET_ASIDE.labels("outbox").inc()
    store.set_aside({number: reason})


def send_or_leave(bus: Bus, store: Store, queued: Sequence[Queued]) -> None:
    """``send_queued``, or else the relay sends them when the broker is back."""
    try:
        send_queued(bus, store, queued)
    except BrokerUnavailable as error:
        log.warning("publish_postponed", error=str(error))
