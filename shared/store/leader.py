"""The leader's row in the service's database, and the check that fences all others.

The row names the holder, the number of its term, and a beat that the holder keeps raising. Nobody
compares clocks: a standby watches the beat, and takes over when it has not changed for long enough
by the standby's own clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.exc import InterfaceError, OperationalError

from shared.store.errors import NotLeader, StoreUnavailable
from shared.store.tables import LEADER

_WRITER = 7_160_420_186
"""PostgreSQL's advisory lock (one for each database) that a unit holds until it ends."""
_PATIENCE = "3s"
"""The time for which a replica that takes over waits for a transaction in progress."""
_HOLDER = re.compile(r"[a-z0-9-]{1,60}")

R = TypeVar("R")
_LOOK = select(LEADER.c.holder, LEADER.c.term, LEADER.c.beat)
_END_SESSIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = :holder"
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The leader's row as it was read."""

    holder: str
    """The leader's name; empty if there is none."""
    term: int
    beat: int


def enter(connection: Connection, holder: str | None) -> None:
    """Begin a unit: become the database's one writer, and with a ``holder`` make sure it leads.

    Raises:
        NotLeader: another replica has taken over. Nobody can while this transaction lasts.
    """
    # Handlers read, decide and write: what replicas, or the old and the new process of an
    # upgrade, do at once must not overwrite each other.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER})
    if holder is not None:
        leads = connection.execute(_LOOK).one()
        if leads.holder != holder:
            raise NotLeader(f"this replica leads no more (term {leads.term} is another's)")


class LeaderRow:
    """The leader's row, for one candidate process.

    Args:
        engine: connections whose ``application_name`` is ``holder``.
        holder: this process' name, which no other process ever had.
    """

    def __init__(self, engine: Engine, holder: str) -> None:
        if not _HOLDER.fullmatch(holder):
            raise ValueError(f"no name of a holder: {holder!r}")
        self._engine = engine
        self.holder = holder

    def look(self) -> Lease:
        """The row as it is now."""
        return self._do(_look)

    def renew(self, term: int) -> bool:
        """Raise the beat; False when this holder's ``term`` is over."""
        mine = (LEADER.c.holder == self.holder, LEADER.c.term == term)
        raised = update(LEADER).where(*mine).values(beat=LEADER.c.beat + 1)
        # The writers' lock is not taken: the holder's long transaction must not cost it the term.
        return self._do(lambda connection: connection.execute(raised).rowcount == 1)

    def take(self, seen: Lease) -> int | None:
        """Begin a term of one's own if the row is still as ``seen``; its number.

        The sessions of the former holder are ended first: a process that was stopped in the
        middle of a transaction would keep the writers' lock.
        """
        if seen.holder not in ("", self.holder):
            self._do(lambda connection: connection.execute(_END_SESSIONS, {"holder": seen.holder}))
        return self._do(lambda connection: self._taken(connection, seen))

    def release(self) -> None:
        """Let another begin at once."""
        mine = update(LEADER).where(LEADER.c.holder == self.holder).values(holder="")
        self._do(lambda connection: connection.execute(mine))

    def _taken(self, connection: Connection, seen: Lease) -> int | None:
        connection.execute(select(func.set_config("lock_timeout", _PATIENCE, True)))
        # All units of the former holder have ended, and the next one will look at the row.
        enter(connection, None)
        if _look(connection, locked=True) != seen:
            return None
        term = seen.term + 1
        values = {"holder": self.holder, "term": term, "beat": seen.beat + 1}
        connection.execute(update(LEADER).values(values))
        return term

    def _do(self, act: Callable[[Connection], R]) -> R:
        try:
            with self._engine.begin() as connection:
                return act(connection)
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(str(error.orig or error)) from error


def _look(connection: Connection, *, locked: bool = False) -> Lease:
    row = connection.execute(_LOOK.with_for_update() if locked else _LOOK).one()
    return Lease(row.holder, row.term, row.beat)
