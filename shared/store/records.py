"""Records: a service's state as pydantic models in named collections."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from collections.abc import Collection as AnyCollection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel
from sqlalchemy import Connection, Integer, Select, Table, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from shared.store.tables import RECORDS

T = TypeVar("T", bound=BaseModel)
Memory = dict[str, tuple[str, T]]
"""Key, JSON and model of the records a reader has found last."""
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
    """The records of one store within one transaction.

    What is put is written when it is asked for or the transaction ends, many rows in one
    statement: a handler's batch puts hundreds. Records are never changed in place.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._put: dict[str, dict[str, dict[str, Any]]] = {}
        self._groups: dict[str, set[str | None]] = {}

    def get(self, collection: Collection[T], key: str) -> T | None:
        """The record with this key, or None."""
        waiting = self._put.get(collection.name, {}).get(key)
        if waiting is not None:
            return cast("T", waiting["data"])
        values = {"collection": collection.name, "key": key}
        row = self._connection.execute(_GET, values).first()
        return None if row is None else collection.model.model_validate_json(row.data)

    def put(self, collection: Collection[T], record: T) -> None:
        """Store ``record``, replacing the one with the same key."""
        self.put_all(collection, [record])

    def put_all(self, collection: Collection[T], records: Sequence[T]) -> None:
        """Store many records, each replacing the one with the same key."""
        waiting = self._put.setdefault(collection.name, {})
        # Ordinals grow within the list, too: the order of creation is what `find` keeps.
        first = time.time_ns()
        for number, record in enumerate(records):
            row = _row(collection, record)
            before = waiting.get(row["key"])
            row["ordinal"] = before["ordinal"] if before else first + number
            waiting[row["key"]] = row
            self._groups.setdefault(collection.name, set()).add(row["group_key"])

    def flush(self) -> None:
        """Write what was put; the transaction does so itself when it ends."""
        for name in list(self._put):
            self._write(name)

    def forget(self) -> None:
        """Give up what was put and not written."""
        self._put.clear()
        self._groups.clear()

    def _write(self, name: str) -> None:
        waiting = self._put.pop(name, None)
        self._groups.pop(name, None)
        if waiting:
            statement = _upsert(self._connection.dialect.name)
            rows = [row | {"data": row["data"].model_dump_json()} for row in waiting.values()]
            self._connection.execute(statement, rows)

    def delete(self, collection: Collection[T], key: str) -> None:
        """Forget the record with this key; harmless when there is none."""
        self._put.get(collection.name, {}).pop(key, None)
        self._connection.execute(_DELETE, {"collection_": collection.name, "key_": key})

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
        memory: Memory[T] | None = None,
    ) -> list[T]:
        """Records that match all that is given, in order of creation.

        With ``memory``, a record that is as it was gives the very model it gave last time, and
        costs no parsing: for who reads the same ones over and over. Memory then holds these.
        """
        values: dict[str, Any] = {"collection": collection.name, "most": limit, "skipped": offset}
        if status is not None:
            values["status"] = [status] if isinstance(status, str) else list(status)
        if group is not None:
            values["group_key"] = group
        if due_before is not None:
            values["due"] = _utc(due_before)
        if group is None or group in self._groups.get(collection.name, ()):
            self._write(collection.name)
        query = _find("status" in values, "group_key" in values, "due" in values, newest_first)
        rows = self._connection.execute(query, values).all()
        waiting = self._put.get(collection.name, {})
        if waiting and any(row.key in waiting for row in rows):
            # One of them was put meanwhile into another group.
            self._write(collection.name)
            rows = self._connection.execute(query, values).all()
        if memory is None:
            return [collection.model.model_validate_json(row.data) for row in rows]
        return _remembered(collection, [(row.key, row.data) for row in rows], memory)

    def count(self, collection: Collection[T]) -> dict[str, int]:
        """How many records there are of each status ('' for none)."""
        self._write(collection.name)
        rows = self._connection.execute(
            select(RECORDS.c.status, func.count())
            .where(RECORDS.c.collection == collection.name)
            .group_by(RECORDS.c.status)
        )
        return {status or "": number for status, number in rows}


def _remembered(
    collection: Collection[T], rows: Sequence[tuple[str, str]], memory: Memory[T]
) -> list[T]:
    parse = collection.model.model_validate_json
    found: Memory[T] = {}
    for key, data in rows:
        known = memory.get(key)
        found[key] = known if known and known[0] == data else (data, parse(data))
    memory.clear()
    memory.update(found)
    return [model for _, model in found.values()]


def _row(collection: Collection[T], record: T) -> dict[str, Any]:
    return {
        "collection": collection.name,
        "key": collection.key(record),
        "group_key": collection.group(record) if collection.group else None,
        "status": collection.status(record) if collection.status else None,
        "due_at": _utc(collection.due(record)) if collection.due else None,
        # As JSON when it is written: a batch may change one large record a thousand times.
        "data": record,
    }


# Building a statement costs more than executing it, so each is built once.
_GET = select(RECORDS.c.data).where(
    RECORDS.c.collection == bindparam("collection"), RECORDS.c.key == bindparam("key")
)
_DELETE = delete(RECORDS).where(
    RECORDS.c.collection == bindparam("collection_"), RECORDS.c.key == bindparam("key_")
)


@cache
def _upsert(dialect: str) -> postgresql.Insert | sqlite.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(RECORDS)
    changed = {name: statement.excluded[name] for name in _CHANGED}
    return statement.on_conflict_do_update(index_elements=["collection", "key"], set_=changed)


@cache
def _find(by_status: bool, by_group: bool, by_due: bool, newest_first: bool) -> Select[Any]:
    query = select(RECORDS.c.key, RECORDS.c.data).where(
        RECORDS.c.collection == bindparam("collection")
    )
    if by_status:
        query = query.where(RECORDS.c.status.in_(bindparam("status", expanding=True)))
    if by_group:
        query = query.where(RECORDS.c.group_key == bindparam("group_key"))
    if by_due:
        query = query.where(RECORDS.c.due_at <= bindparam("due", type_=RECORDS.c.due_at.type))
    order = (RECORDS.c.ordinal, RECORDS.c.key)
    query = query.order_by(*[column.desc() for column in order] if newest_first else order)
    return query.limit(bindparam("most", type_=Integer)).offset(bindparam("skipped", type_=Integer))


def upsert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that can say what to do on conflict, in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
