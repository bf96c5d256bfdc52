"""What a transaction has to say: in the store's outbox until the broker has confirmed it."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from shared.messaging import BrokerUnavailable, Bus, Outgoing, Unroutable
from shared.observe import PUBLISHED
from shared.store import Queued, Store

log = structlog.get_logger(__name__)


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

    What cannot be routed yet stays for the relay: its consumer may not have started ever.
    """
    if not queued:
        return
    try:
        bus.publish_prepared([_as_outgoing(q) for q in queued])
    except Unroutable:
        for each in queued:
            try:
                bus.publish_prepared([_as_outgoing(each)])
            except Unroutable as error:
                log.warning("unroutable", detail=str(error))
            else:
                store.sent([each.id] if each.id is not None else [])
        return
    store.sent([q.id for q in queued if q.id is not None])
    for each in queued:
        PUBLISHED.labels(str(each.headers.get("cloudEvents_type", "copy"))).inc()


def send_or_leave(bus: Bus, store: Store, queued: Sequence[Queued]) -> None:
    """``send_queued``, or else the relay sends them when the broker is back."""
    try:
        send_queued(bus, store, queued)
    except BrokerUnavailable as error:
        log.warning("publish_postponed", error=str(error))
