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
    """The surroundings of a message that a handler may know.

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
"""Reads in few statements what the handlers of a batch will ask for; see `Records.read_ahead`."""


@dataclass(frozen=True)
class Periodic:
    """Something done again and again: level-triggered work on the outside world.

    ``run`` must be idempotent. It is called every ``every_s`` seconds, and at once after
    ``Service.wake(name)``; what it raises is logged and it is called again.
    """

    name: str
    every_s: float
    run: Callable[[], None]
    eager: bool = True
    """Whether it is also called after every batch of messages; not for what takes long."""
    pause_s: float = 0.0
    """Least time between two calls, for what may be done for many batches at once."""
    limit_s: float = 600.0
    """How much later than planned it may have succeeded last, before ``/livez`` says so."""


class PartitionWorker(Protocol):
    """The state of one partition of all samples, and what follows from each batch.

    ``process`` must be deterministic given the state: after a crash the same batches come again
    and must yield the same messages with the same ids.
    """

    def restore(self) -> int | None:
        """Load the last snapshot; the offset of the last batch it contains, None for none."""

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        """Take in one Arrow batch; what is to be published because of it.

        Raises:
            Reject: for what is no batch at all, before the state has changed: it is dead-lettered.
                Whatever else is raised may leave the state in pieces; the worker is made anew.
        """

    def snapshot(self, offset: int) -> None:
        """Store the state, which contains everything up to ``offset``."""

    def close(self) -> None:
        """This replica works the partition no more: take back what is exported of it alone."""
