"""How many dead letters wait for an operator, asked on a connection that is there anyway."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Queue

from shared.messaging.link import Link
from shared.observe import DEAD_LETTERS
from shared.topology import dead_letter_name


class DeadLetterDepth:
    """Exports the number of dead letters of these work queues, each time it is asked to.

    A passive declaration needs no right at the broker.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = queues
        self._link: Link | None = None
        self._channel: Channel | None = None

    def connected(self, link: Link) -> None:
        self._link = link
        link.open_channel(self._on_channel)

    def disconnected(self) -> None:
        self._channel = None

    def ask(self) -> None:
        """Ask the broker; the answers are exported as they come."""
        if self._link is not None:
            self._link.call(self._ask)

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        self._ask()

    def _ask(self) -> None:
        if self._channel is None or not self._channel.is_open:
            return
        for queue in self._queues:
            self._channel.queue_declare(
                dead_letter_name(queue), passive=True, callback=partial(_tell, queue)
            )


def _tell(queue: str, frame: Method[Queue.DeclareOk]) -> None:
    DEAD_LETTERS.labels(queue).set(frame.method.message_count)
