"""Records in this process' memory: what ``shared.store`` does, forty times as fast.

Ten thousand lives of alerts are a hundred million questions to a database. They are asked of this
store instead, and ``test_memory_store.py`` holds it against the real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as AnyCollection
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from shared.store import Collection
from shared.store.collection import fitted, fitted_or_none, utc
from shared.store.tables import STATUS_WIDTH

T = TypeVar("T", bound=BaseModel)
_DUE_AT_ONCE = 1000


class _Row(NamedTuple):
    group: str | None
    status: str | None
    due: datetime | None
    record: Any


class MemoryRecords:
    """What ``shared.store.Records`` offers to handlers."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, _Row]] = {}
        """By collection, in order of creation, which replacing a record does not change."""
        self.before: dict[str, dict[str, _Row]] = {}
        """The collections that this transaction changed, as they were when it began."""

    def get(self, collection: Collection[T], key: str) -> T | None:
        row = self.rows.get(collection.name, {}).get(fitted(key))
        return None if row is None else row.record

    def put(self, collection: Collection[T], record: T) -> None:
        self.put_all(collection, [record])

    def put_all(self, collection: Collection[T], records: Sequence[T]) -> None:
        rows = self._changing(collection.name)
        for record in records:
            row = collection.row(record)
            rows[row["key"]] = _Row(row["group_key"], row["status"], row["due_at"], record)

    def delete(self, collection: Collection[T], key: str) -> None:
        self._changing(collection.name).pop(fitted(key), None)

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
        memory: object = None,
    ) -> list[T]:
        found = list(self.rows.get(collection.name, {}).values())
        if status is not None:
            asked = [status] if isinstance(status, str) else status
            statuses = {fitted(each, STATUS_WIDTH) for each in asked}
            found = [row for row in found if row.status in statuses]
        if group is not None:
            name = fitted_or_none(group)
            found = [row for row in found if row.group == name]
        if due_before is not None:
            moment = utc(due_before)
            found = [row for row in found if row.due is not None and row.due <= moment]
            limit = _DUE_AT_ONCE if limit is None else limit
        if newest_first:
            found.reverse()
        return [row.record for row in found[offset : None if limit is None else offset + limit]]

    def count(self, collection: Collection[T]) -> dict[str, int]:
        rows = self.rows.get(collection.name, {}).values()
        return dict(Counter(row.status or "" for row in rows))

    def read_ahead(self, *_: object, **__: object) -> None:
        """There is nothing to fetch."""

    def _changing(self, name: str) -> dict[str, _Row]:
        rows = self.rows.setdefault(name, {})
        if name not in self.before:
            self.before[name] = dict(rows)
        return rows


class MemoryStore:
    """What ``shared.store.Store`` offers for records: all of a transaction happens, or nothing."""

    def __init__(self) -> None:
        self._records = MemoryRecords()

    @contextmanager
    def transaction(self) -> Iterator[MemoryRecords]:
        try:
            yield self._records
        except BaseException:
            self._records.rows |= self._records.before
            raise
        finally:
            self._records.before = {}

    reading = transaction

    def close(self) -> None:
        """There is nothing to give up."""
