"""Deltas added up: a series' total since this gateway heard of it first."""

from __future__ import annotations

from collections import OrderedDict

Key = tuple[tuple[str, str], ...]


class Totals:
    """Totals of at most ``most`` series; the one not heard of for longest makes room.

    A series that begins anew, here or after a restart, is read as a counter that was reset.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: Key, time_ms: int, delta: float) -> float | None:
        """The total with this delta; None when it is no later than the one before.

        What a sender repeats since it heard no answer must not count twice.
        """
        before = self._known.get(key)
        if before is not None and time_ms <= before[0]:
            return None
        total = delta if before is None else before[1] + delta
        self._known[key] = (time_ms, total)
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return total
