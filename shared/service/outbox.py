"""A transaction's messages: in the store's outbox until the broker has confirmed them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

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
"""The number of refusals of a message sent alone after which it is set aside."""


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


def send_queued(bus: Bus, store: Store, queued: Sequence[Queued]) -> bool:
    """Publish messages of the outbox and take the confirmed ones out; whether all of them were.

    A message that cannot be routed yet stays for the relay: its consumer may never have started.
    A message that can never be published is set aside with the reason; the others do not wait.

    Raises:
        BrokerUnavailable: when the broker did not confirm some of them in time.
    """
    queued = [each for each in queued if not each.set_aside]
    if not queued:
        return True
    try:
        bus.publish_prepared([_as_outgoing(q) for q in queued])
    except (Unpublishable, Refused):
        for each in queued:
            _send_alone(bus, store, each)
        return False
    except Unroutable as error:
        log.warning("message_unroutable", detail=str(error))
        _settle(store, queued, error.confirmed)
        return False
    except BrokerUnavailable as error:
        _settle(store, queued, error.confirmed)
        raise
    _settle(store, queued, range(len(queued)))
    return True


def _settle(store: Store, queued: Sequence[Queued], confirmed: Collection[int]) -> None:
    """Take the messages at these places out of the outbox; the others have been tried in vain."""
    taken = [each for place, each in enumerate(queued) if place in confirmed]
    left = [each for place, each in enumerate(queued) if place not in confirmed]
    store.sent([each.id for each in taken if each.id is not None])
    store.tried([each.id for each in left if each.id is not None])
    kinds = Counter(str(each.headers.get("cloudEvents_type", "copy")) for each in taken)
    for kind, number in kinds.items():
        PUBLISHED.labels(kind).inc(number)


def _send_alone(bus: Bus, store: Store, queued: Queued) -> None:
    number = queued.id
    if number is None:
        return
    try:
        bus.publish_prepared([_as_outgoing(queued)])
    except Unroutable as error:
        log.warning("message_unroutable", detail=str(error))
        store.tried([number])
    except Unpublishable as error:
        _set_aside(store, queued, number, str(error))
    except Refused as error:
        if error.of_message and store.refused(number) >= _MAX_REFUSALS:
            _set_aside(store, queued, number, f"the broker does not take it: {bus.last_error}")
        else:
            log.warning("publish_refused", key=queued.routing_key, error=str(error))
            store.tried([number])
    except BrokerUnavailable:
        store.tried([number])
        raise
    else:
        _settle(store, [queued], [0])


def _set_aside(store: Store, queued: Queued, number: int, reason: str) -> None:
    log.error("outbox_set_aside", id=number, key=queued.routing_key[:255], reason=reason)
    SET_ASIDE.labels("outbox").inc()
    store.set_aside({number: reason})


def send_or_leave(bus: Bus, store: Store, queued: Sequence[Queued]) -> None:
    """``send_queued``; if that fails, the relay sends them when the broker is back."""
    try:
        send_queued(bus, store, queued)
    except BrokerUnavailable as error:
        log.warning("publish_postponed", error=str(error))
