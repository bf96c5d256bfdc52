"""The time of a partition, from its stream.

It is the newest of all times that samples and gateways' heartbeats have told, so that a replay
finds the same time at the same place. A gateway whose own clock was ahead, as on a machine that has
just started, moves it too far. Nothing could then be judged until that time comes, which may be
years: so it is set back once several heartbeats in a row have told an earlier time, with nothing
that moved it on between them.
"""

from __future__ import annotations

from collections.abc import Iterable

BACK_AFTER = 8
"""Heartbeats; a gateway sends one every 15 s. One that was held up sends few late ones."""


class StreamClock:
    """The time so far, -1 before any is known.

    Args:
        tolerance_ms: gateways' clocks may be apart by so much.
    """

    def __init__(self, tolerance_ms: int) -> None:
        self._tolerance_ms = tolerance_ms
        self.now_ms = -1
        self._behind = 0
        self._newest_ms = -1

    def tell(self, newest_ms: int, heartbeat_ms: int | None) -> int:
        """Take the newest time of a batch and its heartbeat's; how far the time has moved."""
        before = self.now_ms
        if newest_ms > before:
            self._set(newest_ms)
        elif heartbeat_ms is not None and heartbeat_ms < before - self._tolerance_ms:
            self._behind += 1
            self._newest_ms = max(self._newest_ms, heartbeat_ms)
            if self._behind >= BACK_AFTER:
                self._set(self._newest_ms)
        return self.now_ms - before

    def _set(self, now_ms: int) -> None:
        self.now_ms, self._behind, self._newest_ms = now_ms, 0, -1

    def snapshot(self) -> list[int]:
        """The state as numbers."""
        return [self.now_ms, self._behind, self._newest_ms]

    def restore(self, numbers: Iterable[int]) -> None:
        """Take the state of a snapshot; ValueError if it does not fit."""
        self.now_ms, self._behind, self._newest_ms = map(int, numbers)
