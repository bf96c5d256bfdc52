"""Records: a service's state as pydantic models in named collections."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from collections.abc import Collection as AnyCollection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from shared.store.tables import RECORDS

T = TypeVar("T", bound=BaseModel)
_CHANGED = ("group_key", "status", "due_at", "data")


@dataclass(frozen=True)
class Collection(Generic[T]):
    """A kind of record: its model, its key, and what it can be found by.

    ``group``, ``status`` and ``due`` read the indexed values from a record; ``due`` gives an
    aware datetime or None.
    """

    name: str
    model: type[T]
    key: Callable[[T], str]
    group: Callable[[T], str | None] | None = None
    status: Callable[[T], str | None] | None = None
    due: Callable[[T], datetime | None] | None = None


class Records:
    """The records of one store within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, collection: Collection[T], key: str) -> T | None:
        """The record with this key, or None."""
        row = self._connection.execute(
            select(RECORDS.c.data).where(
                RECORDS.c.collection == collection.name, RECORDS.c.key == key
            )
        ).first()
        return None if row is None else collection.model.model_validate_json(row.data)

    def put(self, collection: Collection[T], record: T) -> None:
        """Store ``record``, replacing the one with the same key."""
        self.put_all(collection, [record])

    def put_all(self, collection: Collection[T], records: Sequence[T]) -> None:
        """Store many records, each replacing the one with the same key."""
        if not records:
            return
        statement = upsert(self._connection, RECORDS)
        changed = {name: statement.excluded[name] for name in _CHANGED}
        statement = statement.on_conflict_do_update(
            index_elements=["collection", "key"], set_=changed
        )
        # Ordinals grow within the list, too: the order of creation is what `find` keeps.
        first = time.time_ns()
        rows = [
            _row(collection, record) | {"ordinal": first + n} for n, record in enumerate(records)
        ]
        self._connection.execute(statement, rows)

    def delete(self, collection: Collection[T], key: str) -> None:
        """Forget the record with this key; harmless when there is none."""
        self._connection.execute(
            delete(RECORDS).where(RECORDS.c.collection == collection.name, RECORDS.c.key == key)
        )

    def find(
        self,
        collection: Collection[T],
        *,
        status: str | AnyCollection[str] | None = None,
        group: str | None = None,
        due_before: datetime | None = None,
        limit: int = 1000,
        offset: int = 0,
        newest_first: bool = False,
    ) -> list[T]:
        """Records that match all that is given, in order of creation."""
        query = select(RECORDS.c.data).where(RECORDS.c.collection == collection.name)
        if status is not None:
            wanted = [status] if isinstance(status, str) else list(status)
            query = query.where(RECORDS.c.status.in_(wanted))
        if group is not None:
            query = query.where(RECORDS.c.group_key == group)
        if due_before is not None:
            query = query.where(RECORDS.c.due_at <= _utc(due_before))
        order = (RECORDS.c.ordinal.desc(), RECORDS.c.key.desc()) if newest_first else (
            RECORDS.c.ordinal, RECORDS.c.key)  # fmt: skip
        rows = self._connection.execute(query.order_by(*order).limit(limit).offset(offset))
        return [collection.model.model_validate_json(row.data) for row in rows]

    def count(self, collection: Collection[T]) -> dict[str, int]:
        """How many records there are of each status ('' for none)."""
        rows = self._connection.execute(
            select(RECORDS.c.status, func.count())
            .where(RECORDS.c.collection == collection.name)
            .group_by(RECORDS.c.status)
        )
        return {status or "": number for status, number in rows}


def _row(collection: Collection[T], record: T) -> dict[str, Any]:
    return {
        "collection": collection.name,
        "key": collection.key(record),
        "group_key": collection.group(record) if collection.group else None,
        "status": collection.status(record) if collection.status else None,
        "due_at": _utc(collection.due(record)) if collection.due else None,
        "data": record.model_dump_json(),
    }


def upsert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that can say what to do on conflict, in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
