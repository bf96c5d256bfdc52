"""Counts dead letters on the service's existing connection."""

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
    """Counts and exports the dead letters of these work queues on request.

    A passive declaration needs no right at the broker.
    """

    def __init__(self, queues: Sequence[str]) -> None:
        super().__init__()
        self._queues = queues
        self.counts: dict[str, int] = {}
        """The depths that the broker has answered last."""

    def opened(self, channel: Channel) -> None:
        for queue in self._queues:
            channel.queue_declare(
                dead_letter_name(queue), passive=True, callback=partial(self._export, queue)
            )

    def ask(self) -> None:
        """Ask the broker; the answers are exported as they come."""
        self.call(self.opened)

    def _export(self, queue: str, frame: Method[Queue.DeclareOk]) -> None:
        DEAD_LETTERS.labels(queue).set(frame.method.message_count)
        self.counts = self.counts | {queue: frame.method.message_count}
