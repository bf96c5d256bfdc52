"""The arguments of handlers and workers, and the form these must have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.contracts import Message
from shared.store import Records


@dataclass(frozen=True, slots=True)
class Context:
    """The arguments of a handler besides the message.

    ``records`` belongs to the transaction the handler runs in; a service without a store has
    none, and asking for it is an error.
    """

    now: datetime
    message_id: str
    attempt: int = 1
    _records: Records | None = None
    traceparent: str = ""
    """The trace context of handling the message."""

    @property
    def records(self) -> Records:
        if self._records is None:
            msg = "this service has no store"
            raise LookupError(msg)
        return self._records


Handler = Callable[[Any, Context], Iterable[Message]]
"""``(message, context) -> messages``: no clock, no I/O but ``context.records``."""

ReadAhead = Callable[[Sequence[Message], Records], None]
"""Reads the records that a batch's handlers will need in few statements; `Records.read_ahead`."""


@dataclass(frozen=True)
class Periodic:
    """Periodic, level-triggered work on the outside world.

    ``run`` must be idempotent. It is called every ``every_s`` seconds, and at once after
    ``Service.wake(name)``; what it raises is logged and it is called again.
    """

    name: str
    every_s: float
    run: Callable[[], None]
    eager: bool = True
    """True if it is also called after every batch of messages; not for what takes long."""
    pause_s: float = 0.0
    """The shortest time between two calls, for work that can serve many batches at once."""
    limit_s: float = 600.0
    """The time by which its last success may be overdue before ``/livez`` fails."""


class PartitionWorker(Protocol):
    """The state of one partition of the samples, and the messages that follow from each batch.

    ``process`` must be deterministic given the state: after a crash the same batches come again
    and must yield the same messages with the same ids.
    """

    def restore(self) -> int | None:
        """Load the last snapshot; the offset of the last batch it contains, None for none."""

    def begin_again(self) -> None:
        """Continue with a new stream, whose offsets begin again.

        What was learned stays. Snapshots stored from now on are newer than all before, whatever
        their offsets.
        """

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        """Process one Arrow batch; returns the messages to publish.

        Raises:
            Reject: for what is no batch at all, before the state has changed: it is dead-lettered.
                Whatever else is raised may leave the state in pieces; the worker is made again.
        """

    def snapshot(self, offset: int) -> None:
        """Store the state, which contains everything up to ``offset``."""

    def close(self) -> None:
        """Remove the metrics of a partition that this replica no longer works."""
