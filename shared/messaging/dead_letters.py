"""Dead-letter queues, for an operator: count, inspect, replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker, UnroutableError

from shared import topology
from shared.messaging.envelope import (
    ATTEMPT,
    ORIGINAL_EXCHANGE,
    ORIGINAL_KEY,
    OWN_QUEUES,
    PREFIX,
)
from shared.messaging.errors import BrokerUnavailable, Unroutable
from shared.topology import Principal, dead_letter_name

_NOT_REPLAYED = (
    *(ATTEMPT, "x-reason", "x-dead-lettered-at", "x-delivery-count"),
    *("x-death", "x-first-death-", "x-last-death-"),
)
"""Headers about earlier deliveries, by their beginnings: a replay leaves them out."""
_STRANGERS = (Principal.OUTSIDE, Principal.MEMBER, Principal.AGENT)
"""Senders that are no services, the least trusted first."""
_NOT_FOUND = 404


@dataclass(frozen=True)
class DeadLetter:
    """A message that could not be handled, with the known reasons."""

    queue: str
    """The queue in which it was to be handled."""
    message_id: str
    type: str
    routing_key: str
    reason: str
    attempts: int
    at: str
    """The time at which it was given up, ISO 8601."""
    body: bytes


class DeadLetters:
    """Access to the dead-letter queues with the operator's broker user."""

    def __init__(self, url: str) -> None:
        self._url = url

    def counts(self) -> dict[str, int]:
        """Messages per work queue whose dead-letter queue exists.

        Queues of single machines (``agent.<host>``) are left out: name one to look into it.
        """
        found = {}
        for queue in work_queue_names():
            with self._channel() as channel:
                count = _count(channel, dead_letter_name(queue))
            if count is not None:
                found[queue] = count
        return found

    def look(self, queue: str, limit: int = 20) -> list[DeadLetter]:
        """The oldest ``limit`` dead letters of a work queue; they stay where they are."""
        letters, newest = [], 0
        with self._channel() as channel:
            if _count(channel, dead_letter_name(queue)) is None:
                return []
            for _ in range(limit):
                method, properties, body = channel.basic_get(dead_letter_name(queue))
                if method is None:
                    break
                letters.append(_letter(queue, properties, body))
                newest = method.delivery_tag
            _give_back(channel, newest)
        return letters

    def replay(self, queue: str, message_id: str | None = None) -> int:
        """Send dead letters (one, or all there are now) to ``queue`` again; returns how many.

        Each is confirmed in its work queue before it leaves the dead-letter queue, so a crash
        in between doubles it at most; its handler is idempotent.

        Raises:
            Unroutable: the work queue does not exist. What was set aside of a sample stream has
                none: its place in the stream is gone.
        """
        replayed = left = 0
        with self._channel() as channel:
            if _count(channel, dead_letter_name(queue)) is None:
                return 0
            channel.confirm_delivery()
            for method, properties, body in _present(channel, dead_letter_name(queue)):
                if message_id not in (None, properties.message_id):
                    left = method.delivery_tag
                    continue
                headers = dict(properties.headers or {})
                headers |= _origin(queue, headers)
                properties.headers = {
                    name: value
                    for name, value in headers.items()
                    if not name.startswith(_NOT_REPLAYED)
                }
                properties.expiration = None  # it would be given up again, unseen
                try:
                    channel.basic_publish("", queue, body, properties, mandatory=True)
                except UnroutableError:
                    raise Unroutable(f"there is no queue {queue!r} to send it to") from None
                channel.basic_ack(method.delivery_tag)
                replayed += 1
            _give_back(channel, left)
        return replayed

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        try:
            with closing(pika.BlockingConnection(pika.URLParameters(self._url))) as connection:
                yield connection.channel()
        except AMQPError as error:
            raise BrokerUnavailable(f"the broker cannot be used: {error!r}") from error


def _origin(queue: str, headers: Mapping[str, Any]) -> dict[str, str]:
    """The exchange and key of a letter, as noted by the broker when it dead-lettered it.

    What our services give up has no such note, and theirs of where it was published first.
    RabbitMQ 3 continues with a note that its sender has made up, if that names the queue and the
    reason. Nobody brings about a thousand returns at will; of any other note it is believed only
    what a stranger could have sent to this queue.
    """
    if "x-death" not in headers:
        return {}
    newest = next(iter(_listed(headers["x-death"])), None)
    noted = newest if isinstance(newest, Mapping) else {}
    exchange, keys = str(noted.get("exchange", "")), _listed(noted.get("routing-keys"))
    key = str(keys[0]) if keys else ""
    stranger = _stranger(queue)
    if noted.get("reason") == "delivery_limit" or stranger is None:
        if exchange in OWN_QUEUES:
            return {}  # it waited for another attempt: who sent it there noted where it came from
    else:
        key = str(headers.get(ORIGINAL_KEY, key)) if exchange in OWN_QUEUES else key
        exchange = stranger
        if topology.sender(stranger) is Principal.MEMBER:
            key = ""  # a member's key says which job it speaks of
    return {ORIGINAL_EXCHANGE: exchange or "unknown", ORIGINAL_KEY: key or "unknown"}


def _stranger(queue: str) -> str | None:
    """The exchange by which the least trusted sender reaches the queue; None for services' own."""
    sources = {
        topology.publishing_exchange(sender, route)
        for principal in Principal
        for name, routes in topology.subscriptions(principal).items()
        if name == queue
        for route in routes
        for sender in route.publishers
        if sender in _STRANGERS
    }
    ranked = sorted(sources, key=lambda name: _STRANGERS.index(topology.sender(name)))
    return next(iter(ranked), None)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def work_queue_names() -> list[str]:
    """Work queues with a dead-letter queue, but for those of single machines."""
    queues = [
        queue.name
        for principal in Principal
        for queue in topology.work_queues(principal, "{instance}")
        if queue.durable and "{" not in queue.name and not queue.name.endswith(".dead")
    ]
    return queues + [topology.partitions_of(name) for name in topology.PARTITION_CONSUMERS]


def _count(channel: BlockingChannel, queue: str) -> int | None:
    try:
        return int(channel.queue_declare(queue, passive=True).method.message_count)
    except ChannelClosedByBroker as error:
        if error.reply_code == _NOT_FOUND:
            return None
        raise


def _give_back(channel: BlockingChannel, newest: int) -> None:
    """Give back what was taken up to this delivery, before the channel closes.

    Closing does so, too, but a moment later: whoever looks next would miss them.
    """
    if newest:
        channel.basic_nack(newest, multiple=True, requeue=True)
        channel.basic_qos()  # It is answered when what was sent before it has been done.


def _present(channel: BlockingChannel, queue: str) -> Iterator[tuple[Any, Any, bytes]]:
    """The letters in the queue when the first is taken, but none that comes while this continues.

    The broker gives their number with the first. A passive declaration may tell an older number, in
    which those are missing that somebody has looked into and given back just before.
    """
    method, properties, body = channel.basic_get(queue)
    further = method.message_count if method is not None else 0
    while method is not None:
        yield method, properties, body
        if further == 0:
            return
        further -= 1
        method, properties, body = channel.basic_get(queue)


def _letter(queue: str, properties: pika.BasicProperties, body: bytes) -> DeadLetter:
    headers: dict[str, Any] = properties.headers or {}
    attempts = headers.get("x-attempts")  # of what the broker gave up, its sender's word
    return DeadLetter(
        queue=queue,
        message_id=properties.message_id or "",
        type=str(headers.get(f"{PREFIX}type", "")),
        routing_key=str(headers.get(ORIGINAL_KEY, "")),
        reason=str(headers.get("x-reason", "not given")),
        attempts=attempts if isinstance(attempts, int) else 0,
        at=str(headers.get("x-dead-lettered-at", "")),
        body=body,
    )
