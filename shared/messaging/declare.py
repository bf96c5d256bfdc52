"""Declares exchanges and queues from the topology; idempotent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain

import structlog
from pika import spec
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method

from shared import topology
from shared.messaging.link import Link, LinkPart, LinkParts
from shared.topology import Principal, Queue

log = structlog.get_logger(__name__)

_Step = Callable[..., object]
"""One declaration; calls its ``callback`` when the broker has answered."""


class Declarer:
    """Declares exchanges and queues on every new connection, and only then lets others use them."""

    def __init__(self, principal: Principal, instance: str, word: str, partitions: int) -> None:
        self._principal = principal
        self._queues = list(_queues(principal, instance, word, partitions))
        # Permission to declare an exchange includes deleting it and rerouting its messages.
        self._exchanges = topology.exchanges() if principal is Principal.OPERATOR else []
        self._names: dict[str, str] = {}
        self._dependants = LinkParts()
        self._link: Link | None = None
        self.done = threading.Event()
        self.error = ""

    def add(self, part: LinkPart) -> None:
        """Notify ``part`` of a connection when everything is declared on it."""
        self._dependants.add(part)
        if self._link is not None:
            link = self._link
            link.call(lambda: self._dependants.connect(part, link) if self.done.is_set() else None)

    def name_of(self, queue: str) -> str:
        """The broker's name of one of the queues; it chooses the names of exclusive ones."""
        return self._names.get(queue, queue)

    def connected(self, link: Link) -> None:
        self._link = link
        self.done.clear()
        self._names.clear()
        link.open_channel(self._declare)

    def disconnected(self) -> None:
        self.done.clear()
        self._dependants.disconnect_all()

    def _declare(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_closed)
        exchanges = (
            partial(
                channel.exchange_declare,
                exchange=exchange.name,
                exchange_type=exchange.kind,
                durable=True,
                internal=exchange.internal,
            )
            for exchange in self._exchanges
        )
        queues = (step for queue in self._queues for step in self._steps(channel, queue))
        self._step(channel, chain(exchanges, queues))

    def _steps(self, channel: Channel, queue: Queue) -> Iterator[_Step]:
        if queue.name not in self._names:
            yield lambda callback: self._declare_queue(channel, queue, callback)
        for exchange, key in queue.bindings:
            yield lambda callback, exchange=exchange, key=key: channel.queue_bind(
                self._names[queue.name], exchange, routing_key=key, callback=callback
            )

    def _declare_queue(
        self, channel: Channel, queue: Queue, callback: Callable[[object], None]
    ) -> None:
        def declared(frame: Method[spec.Queue.DeclareOk]) -> None:
            self._names[queue.name] = frame.method.queue
            callback(frame)

        channel.queue_declare(
            # The broker chooses a name: no other instance knows it, and who may declare only such
            # names can declare no exchange.
            queue="" if queue.exclusive else queue.name,
            durable=queue.durable,
            exclusive=queue.exclusive,
            arguments=queue.arguments,
            callback=declared,
        )

    def _step(
        self,
        channel: Channel,
        steps: Iterator[_Step],
    ) -> None:
        following = next(steps, None)
        if following is None:
            channel.close()
            self._finish()
        elif channel.is_open:
            following(callback=lambda _frame: self._step(channel, steps))

    def _finish(self) -> None:
        self.done.set()
        if self._link is not None:
            self._dependants.connect_all(self._link)

    def _on_closed(self, _channel: Channel, reason: Exception) -> None:
        if isinstance(reason, ChannelClosedByBroker):
            self.error = str(reason)
            log.error("declare_failed", principal=self._principal, reason=self.error)
            if self._link is not None:
                link = self._link
                link.later(5.0, lambda: link.open_channel(self._declare))


def _queues(principal: Principal, instance: str, word: str, partitions: int) -> Iterable[Queue]:
    if principal is Principal.OPERATOR:
        yield from topology.outlet_queues()
        for each in Principal:
            yield from topology.retry_queues(each)
            yield from (q for q in topology.work_queues(each, "{instance}") if "{" not in q.name)
    if principal in (topology.PARTITION_PUBLISHER, Principal.OPERATOR):
        yield from topology.partition_queues(partitions)
    yield from topology.retry_queues(principal)
    yield from topology.work_queues(principal, instance, word)
