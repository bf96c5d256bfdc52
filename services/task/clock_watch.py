"""Notices that the clock was set, so that no job runs out of time for it, or never does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

log = structlog.get_logger(__name__)

NOTICED = timedelta(seconds=30)
"""A smaller jump is the difference between two machines' clocks, and is ignored."""


class ClockWatch:
    """Compares the clock of contexts with one that nobody sets.

    Args:
        steady: the seconds of the latter.
    """

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._settled: tuple[datetime, float] | None = None
        """Both clocks at the last step whose consequences are stored."""
        self._read: tuple[datetime, float] | None = None

    def step(self, now: datetime) -> timedelta:
        """The time by which the clock was set since the last settled call; zero if it went on."""
        before, self._read = self._settled, (now, self._steady())
        if before is None:
            return timedelta()
        gained = now - before[0] - timedelta(seconds=self._read[1] - before[1])
        if abs(gained) < NOTICED:
            return timedelta()
        log.warning("clock_was_set", seconds=gained.total_seconds())
        return gained

    def settle(self) -> None:
        """The consequences of the last step are stored; until then it is found again."""
        self._settled = self._read
