"""The parts of a service that must make progress, and how fast; the basis of ``/livez``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.messaging import Bus, QueueConsumer
from shared.observe import NO_PROGRESS
from shared.service.partitions import PartitionOwner

HANDLER_LIMIT_S = 600.0
"""The limit for one call of a handler, or for the work on one batch of samples."""

PARTITION_LIMIT_S = 900.0
"""The time for which a partition may be idle while its stream grows: a restore takes some."""

_LINK_LIMIT_S = 120.0
"""The thread of a connection looks at its clock every second while the connection is open."""

_FRUITLESS_LIMIT = 30
"""The number of consecutive connections that were lost before anything was done on them."""


@dataclass
class Turn:
    """The last completion of a piece of periodic work."""

    every_s: float
    limit_s: float
    clock: Callable[[], float] = time.monotonic
    done_at: float = 0.0
    error: str = ""

    def __post_init__(self) -> None:
        self.done_at = self.clock()

    def done(self) -> None:
        """Record a success, or a failure because a dependency is unavailable."""
        self.done_at, self.error = self.clock(), ""

    def failed(self, error: Exception) -> None:
        """Record that it raised an error and will be called again."""
        self.error = f"{type(error).__name__}: {error}"[:200]

    def wrong(self) -> str:
        """Return why this is no progress; nothing while it is."""
        late_s = self.clock() - self.done_at
        if late_s <= self.every_s + self.limit_s:
            return ""
        return f"has not succeeded for {late_s:.0f} s" + (f": {self.error}" if self.error else "")


class Liveness:
    """Checks every part that can hang."""

    def __init__(self, bus: Bus, owners: Sequence[PartitionOwner]) -> None:
        self._bus = bus
        self._owners = owners
        self.turns: dict[str, Turn] = {}
        self.others: dict[str, Callable[[], str]] = {}
        """Further parts by name; each returns why it makes no progress."""
        self._shown: set[str] = set()

    def wrong(self) -> dict[str, str]:
        """The parts that make no progress, by name; empty if all do."""
        found = {} if self._bus.alive else {"messaging": "its thread has ended"}
        found |= self._links() | self._consumers() | self._partitions()
        told = {f"periodic {name}": turn.wrong() for name, turn in list(self.turns.items())}
        told |= {name: wrong() for name, wrong in list(self.others.items())}
        return found | {name: wrong for name, wrong in told.items() if wrong}

    def show(self) -> None:
        """Export what makes no progress."""
        wrong = set(self.wrong())
        for name in self._shown | wrong:
            NO_PROGRESS.labels(name).set(name in wrong)
        self._shown |= wrong

    def _links(self) -> dict[str, str]:
        found = {}
        for name, link in self._bus.links.items():
            still_s = link.still_s
            if still_s > _LINK_LIMIT_S:
                found[name] = f"its thread has not turned for {still_s:.0f} s"
            elif link.fruitless > _FRUITLESS_LIMIT:
                found[name] = f"lost {link.fruitless} connections in a row: {link.last_error}"
        return found

    def _consumers(self) -> dict[str, str]:
        found = {}
        for consumer in self._bus.consumers:
            if wrong := _wrong_with(consumer):
                found[f"queue {consumer.queue}"] = wrong
        return found

    def _partitions(self) -> dict[str, str]:
        return {
            f"partition {owner.partition}": f"nothing was taken from it for {owner.stalled_s:.0f} s"
            for owner in self._owners
            if owner.stalled_s > PARTITION_LIMIT_S
        }


def _wrong_with(consumer: QueueConsumer) -> str:
    busy_s, deaf_s = consumer.handling.busy_s, consumer.deaf_s
    if busy_s > HANDLER_LIMIT_S:
        return f"a batch has been in work for {busy_s:.0f} s"
    if deaf_s > HANDLER_LIMIT_S:
        return f"has not been consumed for {deaf_s:.0f} s: {consumer.last_close or '-'}"
    return ""
