"""Limits the bytes that a consumer holds at a time, because AMQP counts only messages."""

from __future__ import annotations

MAX_HELD_BYTES = 64 * 1024 * 1024
"""Bodies that one consumer holds; with more of them it takes fewer messages at a time."""

NARROW_PREFETCH = 4
"""The number of messages of the largest size that the limit allows."""

_SMALL_DELIVERY_BYTES = 256 * 1024
_SMALL_ONES = 500
"""After this many consecutive small messages, the normal prefetch is restored."""


class Holding:
    """Counts what is held; the prefetch of a channel follows from it."""

    def __init__(self, prefetch: int) -> None:
        self._wide = prefetch
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._small = 0
        self.prefetch = prefetch
        """The prefetch for which the next channel is to ask."""

    def take(self, tag: int, size: int) -> bool:
        """Count a delivery; whether the channel is to be set up again, with another prefetch."""
        self._sizes[tag] = size
        self._bytes += size
        if self.prefetch == self._wide:
            narrow = self._bytes > MAX_HELD_BYTES and self._wide > NARROW_PREFETCH
            self.prefetch = NARROW_PREFETCH if narrow else self._wide
            return narrow
        self._small = 0 if size > _SMALL_DELIVERY_BYTES else self._small + 1
        if self._small < _SMALL_ONES:
            return False
        self._small, self.prefetch = 0, self._wide
        return True

    def settle(self, tag: int) -> None:
        """A delivery is held no more."""
        self._bytes -= self._sizes.pop(tag, 0)

    def clear(self) -> None:
        """Nothing is held: the channel is gone."""
        self._sizes.clear()
        self._bytes = 0
