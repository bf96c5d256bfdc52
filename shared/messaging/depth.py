"""How many dead letters wait for an operator, asked on a connection that is there anyway."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Queue

from shared.messaging.kept_channel import KeptChannel
from shared.observe import DEAD_LETTERS
from shared.topology import dead_letter_name


class DeadLetterDepth(KeptChannel):
    """Exports the number of dead letters of these work queues, each time it is asked to.

    A passive declaration needs no right at the broker.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        super().__init__()
        self._queues = queues

    def opened(self, channel: Channel) -> None:
        for queue in self._queues:
            channel.queue_declare(
                dead_letter_name(queue), passive=True, callback=partial(_export, queue)
            )

    def ask(self) -> None:
        """Ask the broker; the answers are exported as they come."""
        self.call(self.opened)


def _export(queue: str, frame: Method[Queue.DeclareOk]) -> None:
    DEAD_LETTERS.labels(queue).set(frame.method.message_count)
