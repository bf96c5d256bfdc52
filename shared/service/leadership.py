"""Leader election: one replica leads, the others stand by and take over when it falls silent.

What the leader writes is fenced by the database (`shared.store.leader`): its units fail as soon as
another one has begun its term. What it does outside of the database is fenced by time: the term
counts as over, by a clock that also runs while the process does not, before another may begin.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

import structlog

from shared.observe import LEADS
from shared.store import Lease, NotLeader, StoreUnavailable

log = structlog.get_logger(__name__)

BEAT_S = 1.0
"""The interval between two heartbeats of the leader, and between two checks of a standby."""
TERM_S = 6.0
"""A leader without a heartbeat for this time is replaced."""
_MARGIN_S = 1.0
"""The leader stops acting this much earlier, since a request of its own may be in progress."""


class Row(Protocol):
    """See `shared.store.LeaderRow`."""

    def look(self) -> Lease: ...
    def renew(self, term: int) -> bool: ...
    def take(self, seen: Lease) -> int | None: ...
    def release(self) -> None: ...


class NotBegunError(Exception):
    """The replica leads, and its work could not begin."""


class Role(Enum):
    """The relation of this replica to the others."""

    STANDBY = auto()
    LEADER = auto()
    DEPOSED = auto()
    """The replica led before. A process leads once, as its memory belongs to its own term."""


def seconds() -> float:
    """Since the machine's start, those asleep among them where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leadership:
    """Follows the leader's row, or keeps it, one step at a time.

    Args:
        row: the row in which the replicas agree on the leader.
        begun: called once, when this replica's term has begun.
        over: called once, when another has taken over.
        clock: seconds that run on while the process is stopped.
    """

    def __init__(
        self,
        row: Row,
        begun: Callable[[], None],
        over: Callable[[], None],
        clock: Callable[[], float] = seconds,
    ) -> None:
        self._row = row
        self._begun, self._over = begun, over
        self._clock = clock
        self.role = Role.STANDBY
        self._term = 0
        self._until = 0.0
        self._seen: Lease | None = None
        self._seen_at = 0.0

    def require(self) -> None:
        """Return only while no other replica can have begun its term.

        Raises:
            NotLeader: this replica stands by, was deposed, or has not been able to keep its term.
        """
        if self.role is not Role.LEADER or self._clock() >= self._until:
            raise NotLeader("this replica does not lead, or cannot tell whether it still does")

    def step(self) -> None:
        """Stand by, or continue leading.

        Raises:
            StoreUnavailable: when the database cannot be asked; the next step asks again.
        """
        if self.role is Role.STANDBY:
            self._stand_by()
        elif self.role is Role.LEADER:
            self._keep()

    def follow(self, resigned: threading.Event) -> None:
        """Step repeatedly until ``resigned`` is set, or the term is over."""
        LEADS.set(0)
        while self.role is not Role.DEPOSED and not resigned.is_set():
            try:
                self.step()
            except StoreUnavailable as error:
                log.warning("leadership_unknown", role=self.role.name, error=str(error))
            except Exception:
                # The work could not begin: another replica, or this one again, is to do it.
                log.exception("leadership_failed")
                self.release()
                self._over()
            resigned.wait(BEAT_S)

    def release(self) -> None:
        """Let another replica begin at once; called after this replica's work has ended."""
        if self.role is not Role.LEADER:
            return
        self.role = Role.DEPOSED
        LEADS.set(0)
        try:
            self._row.release()
        except StoreUnavailable as error:
            log.warning("leadership_not_released", error=str(error))
        else:
            log.info("leadership_released", term=self._term)

    def _stand_by(self) -> None:
        seen, now = self._row.look(), self._clock()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if seen.holder and now - self._seen_at < TERM_S:
            return
        term = self._row.take(seen)
        if term is None:
            return
        # Others see this term's first beat after this moment, and wait for TERM_S from there.
        self._term, self._until = term, now + TERM_S - _MARGIN_S
        self.role = Role.LEADER
        LEADS.set(1)
        log.info("leadership_taken", term=term, after=seen.holder or "nobody")
        try:
            self._begun()
        except StoreUnavailable as error:
            # No further step: a leader that cannot begin would keep the others waiting.
            raise NotBegunError(str(error)) from error

    def _keep(self) -> None:
        now = self._clock()
        if self._row.renew(self._term):
            self._until = now + TERM_S - _MARGIN_S
            return
        self.role = Role.DEPOSED
        LEADS.set(0)
        log.error("leadership_lost", term=self._term)
        self._over()
