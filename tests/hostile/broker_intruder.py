"""Somebody with one principal's password who tries to publish what is not that principal's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from shared import topology
from shared.topology import Principal, Route

FORGED = b'{"forged": true}'
STANDARD = ("amq.topic", "amq.fanout", "amq.direct", "amq.headers", "amq.match")

Act = Callable[[BlockingChannel], object]


def connect(url: str) -> pika.BlockingConnection:
    """A connection that may be silent for as long as its test thinks of other things."""
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    return pika.BlockingConnection(parameters)


class Intruder:
    """Tries one forbidden thing after another; after a refusal, on a new channel."""

    def __init__(self, url: str) -> None:
        self._link = connect(url)
        self._channel: BlockingChannel | None = None

    def close(self) -> None:
        self._link.close()

    def may(self, method: str, *arguments: object, **named: object) -> bool:
        """Return whether the broker lets one method of a channel happen."""
        return self.allowed(lambda channel: getattr(channel, method)(*arguments, **named))

    def allowed(self, act: Act) -> bool:
        """Return whether the broker let it happen."""
        if self._channel is None or not self._channel.is_open:
            self._channel = self._link.channel()
            self._channel.confirm_delivery()
        try:
            act(self._channel)
        except AMQPError:
            return False
        return True

    def publish(self, exchange: str, key: str, **properties: object) -> bool:
        """Return whether the broker took a forged message."""
        given = pika.BasicProperties(**properties)
        return self.may("basic_publish", exchange, key, FORGED, given)


def names_of_its_own(principal: Principal) -> Iterator[str]:
    """Names that the principal might be allowed to declare something under."""
    for pattern in topology.subscriptions(principal):
        yield pattern.format(instance="intruder")
        yield topology.dead_letter_name(pattern.format(instance="intruder"))
    yield from (queue.name for queue in topology.retry_queues(principal))
    yield from (f"{principal}.intruder", f"owner.{principal}.99", "amq.gen-intruder", "metrics.99")
    yield f"{topology.SUBSCRIBERS_QUEUES}intruder"


def foreign(principal: Principal) -> list[Route]:
    """The messages that are not the principal's to publish."""
    return [route for route in topology.ROUTES if principal not in route.publishers]


def targets() -> list[str]:
    """Every exchange there is."""
    return [*(exchange.name for exchange in topology.exchanges()), *STANDARD]


@contextlib.contextmanager
def intruder(url: str) -> Iterator[Intruder]:
    """One who is gone afterwards."""
    one = Intruder(url)
    try:
        yield one
    finally:
        one.close()
