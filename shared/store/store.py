"""The store: transactions over records, inbox and outbox."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    StaticPool,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import InterfaceError, OperationalError

from shared.store.engine import READING, engine
from shared.store.migrate import migrate
from shared.store.records import Records
from shared.store.tables import INBOX, OUTBOX
from shared.unavailable import Unavailable

_ROWS = 500
"""Rows of one statement: databases bound the number of its parameters."""

_WRITER = 7_160_420_186
"""PostgreSQL's advisory lock (one for each database) that a unit holds until it ends."""


# Building a statement costs more than executing it, so each is built once.
_HANDLED = select(INBOX.c.message_id).where(
    INBOX.c.queue == bindparam("queue_"), INBOX.c.message_id.in_(bindparam("names", expanding=True))
)
_SENT = delete(OUTBOX).where(OUTBOX.c.id == bindparam("id_"))
_SET_ASIDE = (
    update(OUTBOX).where(OUTBOX.c.id == bindparam("id_")).values(set_aside=bindparam("reason"))
)
_REFUSED = (
    update(OUTBOX)
    .where(OUTBOX.c.id == bindparam("id_"))
    .values(refusals=OUTBOX.c.refusals + 1)
    .returning(OUTBOX.c.refusals)
)
_MAX_REASON = 2_000


class StoreUnavailable(Unavailable):
    """The database cannot be reached or is locked; a later attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Queued:
    """One message of the outbox; ``id`` is None until it is stored."""

    exchange: str
    routing_key: str
    message_id: str
    headers: dict[str, Any]
    body: bytes
    mandatory: bool
    id: int | None = None
    set_aside: str = ""
    """Why it can never be published; nothing for what is to be sent."""


class Unit:
    """One transaction: all of it happens, or nothing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.records = Records(connection)

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part that may fail and be undone without undoing the rest."""
        self.records.flush()
        try:
            with self._connection.begin_nested():
                yield
                self.records.flush()
        except BaseException:
            self.records.forget()
            raise

    def first_times(self, queue: str, message_ids: Sequence[str]) -> set[str]:
        """Note that these messages are handled; returns those that were not before."""
        new: set[str] = set()
        unique = list(dict.fromkeys(message_ids))
        now = datetime.now(UTC)
        for start in range(0, len(unique), _ROWS):
            names = unique[start : start + _ROWS]
            # Nobody else writes during a unit, so what is not there now is ours to note.
            known = self._connection.execute(_HANDLED, {"queue_": queue, "names": names})
            fresh = set(names).difference(known.scalars())
            rows = [{"queue": queue, "message_id": name, "handled_at": now} for name in fresh]
            if rows:
                self._connection.execute(INBOX.insert(), rows)
            new |= fresh
        return new

    def enqueue(self, messages: Sequence[Queued]) -> list[Queued]:
        """Put messages into the outbox; returns them with their ids."""
        if not messages:
            return []
        now = datetime.now(UTC)
        result = self._connection.execute(
            OUTBOX.insert().returning(OUTBOX.c.id, sort_by_parameter_order=True),
            [
                {
                    "exchange": message.exchange,
                    "routing_key": message.routing_key,
                    "message_id": message.message_id,
                    "headers": message.headers,
                    "mandatory": int(message.mandatory),
                    "body": message.body,
                    "created_at": now,
                    "set_aside": message.set_aside or None,
                }
                for message in messages
            ],
        )
        ids = result.scalars().all()
        return [replace(m, id=int(n)) for m, n in zip(messages, ids, strict=True)]


class Store:
    """A service's own database: SQLite embedded, PostgreSQL in a cluster.

    Args:
        url: an SQLAlchemy URL; ``sqlite://`` is a private in-memory database.

    Raises:
        StoreUnavailable: when the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine(url)
        # SQLite has one writer; waiting here is cheaper and fairer than its busy loop.
        self._turn = threading.RLock() if self._engine.dialect.name == "sqlite" else None
        try:
            migrate(self._engine)
        except (OperationalError, InterfaceError) as error:
            self._engine.dispose()
            raise StoreUnavailable(str(error.orig or error)) from error

    @contextmanager
    def unit(self) -> Iterator[Unit]:
        """One transaction.

        Raises:
            StoreUnavailable: when the database cannot be reached.
        """
        if self._turn is not None:
            self._turn.acquire()
        try:
            with self._engine.begin() as connection:
                if self._turn is None:
                    # Handlers read, decide and write: what replicas, or the old and the new
                    # process of an upgrade, do at once must not overwrite each other.
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER})
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

        Raises:
            StoreUnavailable: when the database cannot be reached.
        """
        # An in-memory database is one connection, so here only one can use it at a time.
        alone = self._turn if isinstance(self._engine.pool, StaticPool) else None
        with alone or nullcontext():
            try:
                with self._engine.connect() as opened:
                    connection = opened.execution_options(**{READING: True})
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

    def unsent(self, limit: int = 500, older_than_s: float = 0.0) -> list[Queued]:
        """Messages of the outbox that were not confirmed yet, oldest first."""
        now, age = datetime.now(UTC), timedelta(seconds=older_than_s)
        # What comes from the future was written before the clock was set back: it is old as well.
        old = or_(OUTBOX.c.created_at <= now - age, OUTBOX.c.created_at > now + age)
        return self._queued(old, OUTBOX.c.set_aside.is_(None), limit=limit)

    def set_aside(self, reasons: Mapping[int, str]) -> None:
        """Keep these messages of the outbox for an operator: they can never be published."""
        rows = [{"id_": number, "reason": why[:_MAX_REASON]} for number, why in reasons.items()]
        if rows:
            with self.unit() as unit:
                unit._connection.execute(_SET_ASIDE, rows)  # noqa: SLF001 - same module

    def refused(self, number: int) -> int:
        """Count that the broker refused this message, sent alone; how often it did so far."""
        with self.unit() as unit:
            result = unit._connection.execute(_REFUSED, {"id_": number})  # noqa: SLF001 - same module
            return int(result.scalar_one_or_none() or 0)

    def those_set_aside(self, limit: int = 500) -> list[Queued]:
        """Messages of the outbox that can never be published, oldest first, with the reasons."""
        return self._queued(OUTBOX.c.set_aside.is_not(None), limit=limit)

    def retry(self, ids: Sequence[int]) -> None:
        """Let the relay send these messages that were set aside once more."""
        rows = [{"id_": number, "reason": None} for number in ids]
        if rows:
            with self.unit() as unit:
                unit._connection.execute(_SET_ASIDE, rows)  # noqa: SLF001 - same module

    def set_aside_count(self) -> int:
        """How many messages of the outbox can never be published."""
        query = select(func.count()).select_from(OUTBOX).where(OUTBOX.c.set_aside.is_not(None))
        with self.unit() as unit:
            return int(unit._connection.execute(query).scalar_one())  # noqa: SLF001 - same module

    def _queued(self, *conditions: ColumnElement[bool], limit: int) -> list[Queued]:
        query = select(OUTBOX).where(*conditions).order_by(OUTBOX.c.id).limit(limit)
        with self.unit() as unit:
            rows = unit._connection.execute(query).all()  # noqa: SLF001 - same module
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

    def unsent_count(self) -> int:
        """How many messages wait in the outbox."""
        with self.unit() as unit:
            count = unit._connection.execute(  # noqa: SLF001 - same module
                select(func.count()).select_from(OUTBOX).where(OUTBOX.c.set_aside.is_(None))
            )
            return int(count.scalar_one())

    def sent(self, ids: Sequence[int]) -> None:
        """Take confirmed messages out of the outbox."""
        if ids:
            with self.unit() as unit:
                unit._connection.execute(  # noqa: SLF001 - same module
                    _SENT, [{"id_": number} for number in ids]
                )

    def forget_handled(self, older_than: timedelta) -> int:
        """Shorten the inbox; returns how many ids were forgotten."""
        with self.unit() as unit:
            result = unit._connection.execute(  # noqa: SLF001 - same module
                delete(INBOX).where(INBOX.c.handled_at < datetime.now(UTC) - older_than)
            )
            return int(result.rowcount)

    def close(self) -> None:
        """Give up the connections."""
        self._engine.dispose()
