"""Records: a service's state as pydantic models in named collections."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Collection as AnyCollection
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Select, func, select

from shared.store import statements
from shared.store.collection import Collection, T, fitted, fitted_or_none, utc
from shared.store.known import UNKNOWN, Known, KnownGroup
from shared.store.parsed import Parsed
from shared.store.tables import RECORDS, STATUS_WIDTH

Memory = dict[str, tuple[str, T]]
"""Key, JSON and model of the records a reader has found last."""
_AT_ONCE = 500
_DUE_AT_ONCE = 1000
_SCANNED_FIRST, _SCANNED_AT_ONCE = 110, 2_000


def _statuses(status: str | AnyCollection[str] | None) -> list[str] | None:
    """The statuses to look for, as they are stored; None for any."""
    if status is None:
        return None
    return [fitted(s, STATUS_WIDTH) for s in ([status] if isinstance(status, str) else status)]


class Records:
    """The records of one store within one transaction.

    Records are written when they are queried or the transaction ends, many rows per statement: a
    handler's batch puts hundreds. What was read or put is not queried again, because no other
    transaction writes in the meantime. Records are never changed in place.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._put: dict[str, dict[str, dict[str, Any]]] = {}
        self._groups: dict[str, set[str | None]] = {}
        self._known: dict[str, Known] = defaultdict(Known)
        self._parsed: dict[str, Parsed[Any]] = {}

    def get(self, collection: Collection[T], key: str) -> T | None:
        """The record with this key, or None."""
        key = fitted(key)
        known = self._known[collection.name]
        found = known.get(key)
        if found is UNKNOWN:
            values = {"collection": collection.name, "key": key}
            row = self._connection.execute(statements.GET, values).first()
            found = None if row is None else collection.parsed.model(key, row.data)
            known.learn({key: found})
        return cast("T | None", found)

    def read_ahead(
        self,
        collection: Collection[T],
        *,
        keys: Iterable[str] = (),
        groups: Iterable[str] = (),
        newest: int = 1,
    ) -> None:
        """Read at once what ``get`` will ask for by these keys, and ``find`` by these groups.

        A group is read up to its ``newest`` records. It changes no answer, only its price.
        """
        known = self._known[collection.name]
        read = collection.parsed.model
        for part in _parts({key for key in map(fitted, keys) if known.get(key) is UNKNOWN}):
            values: dict[str, Any] = {"collection": collection.name, "keys": part}
            rows = self._connection.execute(statements.GET_MANY, values)
            known.learn(dict.fromkeys(part) | {row.key: read(row.key, row.data) for row in rows})
        wanted = {group for group in map(fitted, groups) if known.group(group) is None}
        if wanted:
            self._write(collection.name)
        for part in _parts(wanted):
            values = {"collection": collection.name, "groups": part, "most": newest}
            members: dict[str, dict[str, T]] = {group: {} for group in part}
            for row in self._connection.execute(statements.NEWEST, values):
                members[row.group_key][row.key] = read(row.key, row.data)
            for group, records in members.items():
                complete = len(records) < newest
                known.learn_group(group, KnownGroup(records, complete=complete))

    def put(self, collection: Collection[T], record: T) -> None:
        """Store ``record``, replacing the one with the same key."""
        self._wait(collection, record, time.time_ns())

    def put_all(self, collection: Collection[T], records: Sequence[T]) -> None:
        """Store many records, each replacing the one with the same key."""
        # Ordinals grow within the list, too: the order of creation is what `find` keeps.
        first = time.time_ns()
        for number, record in enumerate(records):
            self._wait(collection, record, first + number)

    def _wait(self, collection: Collection[T], record: T, ordinal: int) -> None:
        """Keep ``record`` to be written; one that waits already keeps its place."""
        name, row = collection.name, collection.row(record)
        key, group = row["key"], row["group_key"]
        self._parsed[name] = collection.parsed
        waiting = self._put.setdefault(name, {})
        before = waiting.get(key)
        row["ordinal"] = before["ordinal"] if before else ordinal
        waiting[key] = row
        self._groups.setdefault(name, set()).add(group)
        self._known[name].put(key, group, record)

    def flush(self) -> None:
        """Write the pending records, which the transaction otherwise does at its end."""
        for name in list(self._put):
            self._write(name)

    def forget(self) -> None:
        """Discard pending records that were not written."""
        self._put.clear()
        self._groups.clear()
        self._known.clear()

    def _write(self, name: str) -> None:
        waiting = self._put.pop(name, None)
        self._groups.pop(name, None)
        if waiting:
            rows, parsed = list(waiting.values()), self._parsed[name]
            for row in rows:
                record = row["data"]
                row["data"] = record.model_dump_json()
                parsed.keep(row["key"], row["data"], record)
            statements.UPSERT.execute(self._connection, rows)

    def delete(self, collection: Collection[T], key: str) -> None:
        """Forget the record with this key; harmless when there is none."""
        key = fitted(key)
        self._put.get(collection.name, {}).pop(key, None)
        self._known[collection.name].delete(key)
        collection.parsed.forget(key)
        self._connection.execute(statements.DELETE, {"collection_": collection.name, "key_": key})

    def find(
        self,
        collection: Collection[T],
        *,
        status: str | AnyCollection[str] | None = None,
        group: str | None = None,
        due_before: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
        newest_first: bool = False,
        soonest_first: bool = False,
        latest_first: bool = False,
        memory: Memory[T] | None = None,
    ) -> list[T]:
        """Records that match all that is given, in order of creation; all of them without a limit.

        With ``soonest_first`` they come by the time they are due, with ``latest_first`` backwards.

        What is due is a list to be worked off: without a limit it comes in parts of 1,000, and who
        asks again gets the next ones.

        With ``memory``, a record that is as it was gives the very model it gave last time, and
        costs no parsing: for who reads the same ones over and over. Memory then holds these.
        """
        statuses, group = _statuses(status), fitted_or_none(group)
        if limit is None and due_before is not None:
            limit = _DUE_AT_ONCE
        plain = memory is None and due_before is None and not (soonest_first or latest_first)
        if plain and group is not None and offset == 0:
            read = self._of_group(collection, group, statuses, limit, newest_first=newest_first)
            if read is not None:
                return read
        if group is None or group in self._groups.get(collection.name, ()):
            self._write(collection.name)
        asked = {"most": limit, "status": statuses, "group_key": group, "due": utc(due_before)}
        values = {name: value for name, value in asked.items() if value is not None}
        values |= {"collection": collection.name, "skipped": offset}
        first: statements.First = "newest" if newest_first else "oldest"
        by_time: statements.First = "latest" if latest_first else "soonest"
        first = by_time if soonest_first or latest_first else first
        found = self._found(collection.name, values, first)
        if memory is not None:
            return _remembered(collection, found, memory)
        return self._models(collection, found)

    def scan(
        self,
        collection: Collection[T],
        status: str,
        may_match: Callable[[str], bool],
        having: Sequence[str] = (),
    ) -> Iterator[T]:
        """Records of a status, the newest first, whose JSON ``may_match``; no other is parsed.

        Their JSON has all the texts of ``having``, in any case of letters: the database leaves out
        most of those that do not, so that these are not read; the others ``may_match`` refuses.
        """
        for rows in self._scanned(collection.name, status, may_match, having):
            for row in rows:
                yield from self._models(collection, [row])

    def texts(
        self,
        collection: Collection[T],
        status: str,
        may_match: Callable[[str], bool],
        having: Sequence[str] = (),
    ) -> Iterator[str]:
        """The JSON of the records that ``scan`` finds.

        Models are most of the price of many records, and some questions need few of their fields.
        """
        for rows in self._scanned(collection.name, status, may_match, having):
            yield from (data for _, data in rows)

    def _scanned(
        self, name: str, status: str, may_match: Callable[[str], bool], having: Sequence[str]
    ) -> Iterator[list[tuple[str, str]]]:
        """Read in parts, the first of them a page's worth: most readers stop there."""
        self._write(name)
        patterns = [statements.pattern(text) for text in having if text.isascii()]
        query = statements.scan(len(patterns), self._connection.dialect.name)
        values: dict[str, Any] = {f"text_{n}": each for n, each in enumerate(patterns)}
        values |= {"collection": name, "status": [fitted(status, STATUS_WIDTH)]}
        most, skipped = _SCANNED_FIRST, 0
        while True:
            part = values | {"most": most, "skipped": skipped}
            rows = self._rows(name, query, part)
            yield [row for row in rows if may_match(row[1])]
            if len(rows) < most:
                return
            skipped, most = skipped + most, _SCANNED_AT_ONCE

    def of_groups(
        self,
        collection: Collection[T],
        groups: AnyCollection[str],
        status: AnyCollection[str],
        limit: int,
    ) -> list[T]:
        """Records of these groups and statuses, the oldest of each part of the groups first."""
        self._write(collection.name)
        values: dict[str, Any] = {"collection": collection.name, "most": limit}
        values["status"] = _statuses(status)
        found: list[T] = []
        for part in _parts({fitted(group) for group in groups}):
            asked = values | {"groups": part}
            rows = self._connection.execute(statements.OF_GROUPS, asked).all()
            found += self._models(collection, [(row.key, row.data) for row in rows])
        return found

    def due(self, collection: Collection[T]) -> dict[str, str]:
        """The time at which each record is due, by its key, as the database writes it, or ''.

        Where a record that changes is due at another time, this says which ones have changed.
        """
        self._write(collection.name)
        rows = self._connection.execute(statements.DUE, {"collection": collection.name}).all()
        return {key: due or "" for key, due in rows}

    def keys(
        self,
        collection: Collection[T],
        status: AnyCollection[str],
        *,
        limit: int,
        offset: int = 0,
        newest_first: bool = False,
    ) -> list[str]:
        """Keys of records of these statuses: ordering keys costs little, ordering records much.

        Of each status they lie in order in the index, so that the price is that of what is asked
        for, however many there are.
        """
        self._write(collection.name)
        query = statements.find_keys(newest_first)
        found: list[tuple[int, str]] = []
        for each in {fitted(name, STATUS_WIDTH) for name in status}:
            values = {"collection": collection.name, "status": each, "most": offset + limit}
            found += [(row.ordinal, row.key) for row in self._connection.execute(query, values)]
        found.sort(reverse=newest_first)
        return [key for _, key in found[offset : offset + limit]]

    def keys_beginning(self, collection: Collection[T], beginning: str, limit: int) -> list[str]:
        """The oldest records' keys that begin so; the database looks at every key."""
        self._write(collection.name)
        values = {"collection": collection.name, "beginning": beginning, "most": limit}
        return list(self._connection.execute(statements.KEYS_BEGINNING, values).scalars())

    def groups_beginning(
        self, collection: Collection[T], status: str, beginning: str, limit: int
    ) -> list[T]:
        """The oldest records of a status whose groups begin so; the database looks at every one."""
        self._write(collection.name)
        values = {
            "collection": collection.name,
            "status": fitted(status, STATUS_WIDTH),
            "beginning": beginning,
            "most": limit,
        }
        rows = self._connection.execute(statements.GROUPS_BEGINNING, values)
        return self._models(collection, [(row.key, row.data) for row in rows])

    def groups(self, collection: Collection[T], status: AnyCollection[str]) -> set[str]:
        """The groups of the records of these statuses; the database looks at every one."""
        self._write(collection.name)
        asked = {"collection": collection.name, "status": [fitted(s, STATUS_WIDTH) for s in status]}
        return set(self._connection.execute(statements.GROUPS, asked).scalars().all()) - {None}

    def statuses(self, collection: Collection[T]) -> list[str]:
        """Every status that a record of the collection has, at the price of their number."""
        self._write(collection.name)
        rows = self._connection.execute(statements.STATUSES, {"collection": collection.name})
        return [row.status for row in rows]

    def _found(
        self, name: str, values: dict[str, Any], first: statements.First
    ) -> list[tuple[str, str]]:
        return self._rows(name, statements.find(frozenset(values), first), values)

    def _rows(self, name: str, query: Select[Any], values: dict[str, Any]) -> list[tuple[str, str]]:
        rows = self._connection.execute(query, values).all()
        waiting = self._put.get(name, {})
        if waiting and any(row.key in waiting for row in rows):
            # One of them was moved to another group in the meantime.
            self._write(name)
            rows = self._connection.execute(query, values).all()
        return [(row.key, row.data) for row in rows]

    def _models(self, collection: Collection[T], rows: Sequence[tuple[str, str]]) -> list[T]:
        known = self._known[collection.name]
        records: list[T] = []
        for key, data in rows:
            record = known.get(key)
            if record is UNKNOWN:
                record = collection.parsed.model(key, data)
                known.learn({key: record})
            records.append(record)
        return records

    def _of_group(
        self,
        collection: Collection[T],
        group: str,
        statuses: AnyCollection[str] | None,
        limit: int | None,
        *,
        newest_first: bool,
    ) -> list[T] | None:
        """The answer to ``find`` from a group that was read ahead; None if that is not all."""
        known = self._known[collection.name].group(group)
        if known is None or not (known.complete or newest_first):
            return None
        records: list[T] = list(known.records.values())
        if newest_first:
            records.reverse()
        if statuses is not None:
            records = [r for r in records if collection.status_of(r) in statuses]
        enough = known.complete or (limit is not None and len(records) >= limit)
        return records[:limit] if enough else None

    def ping(self) -> None:
        """Ask the database for nothing."""
        self._connection.execute(select(1))

    def count(self, collection: Collection[T]) -> dict[str, int]:
        """Return how many records there are of each status ('' for none)."""
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


def _parts(names: AnyCollection[str]) -> Iterator[list[str]]:
    """Split keys into as many as one statement can ask for."""
    ordered = sorted(names)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]
