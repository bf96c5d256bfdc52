"""Lets one process at a time consume a queue that is named after its consumer, such as a machine.

Two programs that were given the same name would share the queue, and each command would reach
either of them. RabbitMQ 3.10 accepts a second exclusive consumer of a quorum queue, so the broker
is asked for an exclusive queue beside it, as for a partition's lock: one connection has it, until
that ends.
"""

from __future__ import annotations

import structlog
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker

from shared.messaging.consumer import QueueConsumer
from shared.messaging.link import Link

log = structlog.get_logger(__name__)

_RESOURCE_LOCKED = 405
_AGAIN_S = 2.0


class Claim:
    """Begins a suspended consumer on each connection that has its queue for itself."""

    def __init__(self, consumer: QueueConsumer) -> None:
        self._consumer = consumer
        # No instance has a colon in its name, so this is no other one's queue.
        self._name = f"{consumer.queue}:claim"
        self._link: Link | None = None
        self.refused = ""
        """The reason why the queue is not consumed: another process has it; empty otherwise."""
        self.held = False
        """True while this process has the queue for itself."""

    def connected(self, link: Link) -> None:
        self._link = link
        link.open_channel(self._ask)

    def disconnected(self) -> None:
        self._link, self.held = None, False
        # Its channel belonged to that connection: there is nothing to be closed.
        self._consumer.disconnected()
        self._consumer.suspend()

    def _ask(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        channel.queue_declare(self._name, exclusive=True, callback=lambda _: self._granted(channel))

    def _granted(self, channel: Channel) -> None:
        if self.refused:
            log.info("queue_free_again", queue=self._consumer.queue)
        self.refused, self.held = "", True
        self._consumer.begin()
        channel.close()

    def _closed(self, _channel: Channel, reason: Exception) -> None:
        link = self._link
        if link is None or not isinstance(reason, ChannelClosedByBroker):
            return
        if reason.reply_code == _RESOURCE_LOCKED and not self.refused:
            self.refused = (
                f"another process consumes {self._consumer.queue}: two programs have the same name"
            )
            log.warning("queue_not_consumed", queue=self._consumer.queue, reason=self.refused)
        elif reason.reply_code != _RESOURCE_LOCKED:
            log.warning("queue_not_claimed", queue=self._consumer.queue, reason=str(reason))
        link.later(_AGAIN_S, lambda: self._again(link))

    def _again(self, link: Link) -> None:
        if link is self._link and link.up:
            link.open_channel(self._ask)
