"""The store: transactions over records, inbox and outbox."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from sqlalchemy import (
    ColumnElement,
    StaticPool,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from shared.store.claim import claimed
from shared.store.engine import READING, engine
from shared.store.errors import StoreUnavailable, StoreUnfit
from shared.store.leader import LeaderRow, enter
from shared.store.migrate import migrate
from shared.store.prepared import Prepared
from shared.store.records import Records
from shared.store.tables import INBOX, OUTBOX
from shared.store.unit import Queued, Unit

# Building a statement costs more than executing it, so each is built once.
_SENT = Prepared(["id_"], lambda _: delete(OUTBOX).where(OUTBOX.c.id == bindparam("id_")))
_SET_ASIDE = (
    update(OUTBOX).where(OUTBOX.c.id == bindparam("id_")).values(set_aside=bindparam("reason"))
)
_REFUSED = (
    update(OUTBOX)
    .where(OUTBOX.c.id == bindparam("id_"))
    .values(refusals=OUTBOX.c.refusals + 1)
    .returning(OUTBOX.c.refusals)
)
_TRIED = update(OUTBOX).where(OUTBOX.c.id == bindparam("id_")).values(tries=OUTBOX.c.tries + 1)
_MAX_REASON = 2_000


def _older_than(seconds: float) -> ColumnElement[bool]:
    """Rows of the outbox that were written longer ago than this."""
    now, age = datetime.now(UTC), timedelta(seconds=seconds)
    # A row from the future was written before the clock was set back: it is old as well.
    return or_(OUTBOX.c.created_at <= now - age, OUTBOX.c.created_at > now + age)


def _unfit(error: DBAPIError, is_file: bool) -> StoreUnfit:
    """The driver's reason without the statement, which is of no use to whoever set it up."""
    reason = (str(error.orig or error).splitlines() or [""])[0]
    if is_file:
        return StoreUnfit(reason, "move the file away, or correct STORE_URL")
    return StoreUnfit(
        reason,
        "let the user of STORE_URL make and use tables there (USAGE and CREATE on the schema, and "
        "the tables its own), or correct STORE_URL",
    )


class Store:
    """A service's own database: SQLite embedded, PostgreSQL in a cluster.

    Args:
        url: an SQLAlchemy URL; ``sqlite://`` is a private in-memory database.

    Raises:
        StoreUnavailable: when the database cannot be reached.
        StoreUnfit: when it answers and its schema cannot be made or is not this version's.
    """

    def __init__(self, url: str) -> None:
        self._name = uuid.uuid4().hex
        self._leader: str | None = None
        self._claim: IO[bytes] | None = None
        self._engine = engine(url, self._name)
        # SQLite has one writer; waiting here is cheaper and fairer than its busy loop.
        self._turn = threading.RLock() if self._engine.dialect.name == "sqlite" else None
        # SQLite reads one moment in any transaction, PostgreSQL by default in any statement.
        snapshot = {"isolation_level": "REPEATABLE READ"} if self._turn is None else {}
        self._looking: dict[str, Any] = {READING: True} | snapshot
        try:
            migrate(self._engine)
        except Exception as error:
            self._engine.dispose()
            if isinstance(error, (OperationalError, InterfaceError)):
                raise StoreUnavailable(str(error.orig or error)) from error
            if isinstance(error, DBAPIError):
                raise _unfit(error, self._turn is not None) from error
            raise

    @property
    def serves_replicas(self) -> bool:
        """True if several processes may work with this database at once."""
        return self._turn is None

    def leader_row(self) -> LeaderRow:
        """The leader among the processes that share this database."""
        return LeaderRow(self._engine, self._name)

    def of_leader(self) -> Store:
        """This store for what only the leader does: its units fail when another one leads."""
        led = copy.copy(self)
        led._leader = self._name  # noqa: SLF001 - of its own class
        return led

    def claim(self) -> None:
        """Keep other processes from claiming this database if it serves one alone.

        Raises:
            StoreInUse: when another one has claimed it.
        """
        if self._claim is None and not self.serves_replicas:
            self._claim = claimed(self._engine.url.database)

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """One transaction.

        Raises:
            StoreUnavailable: when the database cannot be reached.
            NotLeader: when it is the leader's (`of_leader`) and another one leads.
        """
        if self._turn is not None:
            self._turn.acquire()
        try:
            with self._engine.begin() as connection:
                if self._turn is None:
                    enter(connection, self._leader)
                unit = Unit(connection)
                yield unit
                unit.records.flush()
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(str(error.orig or error)) from error
        finally:
            if self._turn is not None:
                self._turn.release()

    @contextmanager
    def transaction(self) -> Iterator[Records]:
        """One transaction over the records alone."""
        with self.unit() as unit:
            yield unit.records

    @contextmanager
    def reading(self) -> Iterator[Records]:
        """The records as they are now, for looking only; no writer waits for it, nor it for one.

        All that is read is of one moment: a job that changes its state between two questions is
        not missing from both answers.

        Raises:
            StoreUnavailable: when the database cannot be reached.
        """
        # An in-memory database is one connection, so here only one can use it at a time.
        alone = self._turn if isinstance(self._engine.pool, StaticPool) else None
        with alone or nullcontext():
            try:
                with self._engine.connect() as opened:
                    connection = opened.execution_options(**self._looking)
                    with connection.begin():
                        yield Records(connection)
            except (OperationalError, InterfaceError) as error:
                raise StoreUnavailable(str(error.orig or error)) from error

    def reachable(self) -> None:
        """Return when the database answers.

        Raises:
            StoreUnavailable: when it does not.
        """
        with self.reading() as records:
            records.ping()

    def unsent(
        self, limit: int = 500, older_than_s: float = 0.0, *, again: bool = False
    ) -> list[Queued]:
        """Messages of the outbox that were never tried in vain, oldest first.

        With ``again`` those that were, the least often tried first: however many cannot be
        sent, each of them has its turn, and none keeps another one from it.
        """
        tries = OUTBOX.c.tries > 0 if again else OUTBOX.c.tries == 0
        waits = OUTBOX.c.set_aside.is_(None)
        return self._queued(_older_than(older_than_s), tries, waits, limit=limit)

    def tried(self, ids: Sequence[int]) -> None:
        """Count that these messages were sent and the broker has not confirmed them."""
        if ids:
            with self.unit() as unit:
                unit.connection.execute(_TRIED, [{"id_": number} for number in ids])

    def set_aside(self, reasons: Mapping[int, str]) -> None:
        """Keep these messages of the outbox for an operator: they can never be published."""
        rows = [{"id_": number, "reason": why[:_MAX_REASON]} for number, why in reasons.items()]
        if rows:
            with self.unit() as unit:
                unit.connection.execute(_SET_ASIDE, rows)

    def refused(self, number: int) -> int:
        """Count that the broker refused this message, sent alone; how often it did so far."""
        with self.unit() as unit:
            result = unit.connection.execute(_REFUSED, {"id_": number})
            return int(result.scalar_one_or_none() or 0)

    def those_set_aside(self, limit: int = 500) -> list[Queued]:
        """Messages of the outbox that can never be published, oldest first, with the reasons."""
        return self._queued(OUTBOX.c.set_aside.is_not(None), limit=limit)

    def retry(self, ids: Sequence[int]) -> None:
        """Let the relay send these messages that were set aside once more."""
        rows = [{"id_": number, "reason": None} for number in ids]
        if rows:
            with self.unit() as unit:
                unit.connection.execute(_SET_ASIDE, rows)

    def set_aside_count(self) -> int:
        """Return how many messages of the outbox can never be published."""
        query = select(func.count()).select_from(OUTBOX).where(OUTBOX.c.set_aside.is_not(None))
        with self.unit() as unit:
            return int(unit.connection.execute(query).scalar_one())

    def _queued(self, *conditions: ColumnElement[bool], limit: int) -> list[Queued]:
        query = select(OUTBOX).where(*conditions)
        query = query.order_by(OUTBOX.c.tries, OUTBOX.c.id).limit(limit)
        with self.unit() as unit:
            rows = unit.connection.execute(query).all()
        return [
            Queued(
                row.exchange,
                row.routing_key,
                row.message_id,
                row.headers,
                row.body,
                bool(row.mandatory),
                row.id,
                row.set_aside or "",
            )
            for row in rows
        ]

    def unsent_count(self, older_than_s: float = 0.0) -> int:
        """Return how many messages wait in the outbox."""
        query = select(func.count()).select_from(OUTBOX).where(OUTBOX.c.set_aside.is_(None))
        with self.unit() as unit:
            counted = unit.connection.execute(query.where(_older_than(older_than_s)))
            return int(counted.scalar_one())

    def sent(self, ids: Sequence[int]) -> None:
        """Take confirmed messages out of the outbox."""
        if ids:
            with self.unit() as unit:
                _SENT.execute(unit.connection, [{"id_": number} for number in ids])

    def forget_handled(self, older_than: timedelta) -> int:
        """Shorten the inbox; returns how many ids were forgotten."""
        with self.unit() as unit:
            result = unit.connection.execute(
                delete(INBOX).where(INBOX.c.handled_at < datetime.now(UTC) - older_than)
            )
            return int(result.rowcount)

    def close(self) -> None:
        """Give up the connections."""
        self._engine.dispose()
        if self._claim is not None:
            self._claim.close()
            self._claim = None
