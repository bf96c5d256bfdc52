"""Declaring what the topology says, again and again without harm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import structlog
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker

from shared import topology
from shared.messaging.link import Link, LinkPart
from shared.topology import Principal, Queue

log = structlog.get_logger(__name__)

_Step = Callable[..., object]
"""One declaration; calls its ``callback`` when the broker has answered."""


class Declarer:
    """Declares exchanges and queues on every new connection, and only then lets others use them."""

    def __init__(self, principal: Principal, instance: str, word: str, partitions: int) -> None:
        self._principal = principal
        self._queues = list(_queues(principal, instance, word, partitions))
        self._exchanges = topology.exchanges() if _declares_shared(principal) else {}
        self._dependants: list[LinkPart] = []
        self._link: Link | None = None
        self.done = threading.Event()
        self.error = ""

    def add(self, part: LinkPart) -> None:
        """Tell ``part`` of a connection once everything is declared on it."""
        self._dependants.append(part)
        if self._link is not None:
            link = self._link
            link.call(lambda: part.connected(link) if self.done.is_set() else None)

    def connected(self, link: Link) -> None:
        self._link = link
        self.done.clear()
        link.open_channel(self._declare)

    def disconnected(self) -> None:
        self.done.clear()
        for part in self._dependants:
            part.disconnected()

    def _declare(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_closed)
        steps: list[_Step] = []
        for name, kind in self._exchanges.items():
            steps.append(
                partial(channel.exchange_declare, exchange=name, exchange_type=kind, durable=True)
            )
        for queue in self._queues:
            steps.append(
                partial(
                    channel.queue_declare,
                    queue=queue.name,
                    durable=queue.durable,
                    exclusive=queue.exclusive,
                    arguments=queue.arguments,
                )
            )
            steps += [
                partial(channel.queue_bind, queue=queue.name, exchange=exchange, routing_key=key)
                for exchange, key in queue.bindings
            ]
        self._step(channel, iter(steps))

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
        for part in list(self._dependants):
            if self._link is not None:
                part.connected(self._link)

    def _on_closed(self, _channel: Channel, reason: Exception) -> None:
        if isinstance(reason, ChannelClosedByBroker):
            self.error = str(reason)
            log.error("declare_failed", principal=self._principal, reason=self.error)
            if self._link is not None:
                link = self._link
                link.later(5.0, lambda: link.open_channel(self._declare))


def _declares_shared(principal: Principal) -> bool:
    return principal not in (Principal.AGENT, Principal.MEMBER, Principal.OUTSIDE)


def _queues(principal: Principal, instance: str, word: str, partitions: int) -> Iterable[Queue]:
    if _declares_shared(principal):
        yield from topology.shared_queues(partitions)
    if principal is Principal.OPERATOR:
        for each in Principal:
            yield from (q for q in topology.work_queues(each, "{instance}") if "{" not in q.name)
    else:
        yield from topology.work_queues(principal, instance, word)
