"""One transaction of the store: records, the inbox and the outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from shared.store.prepared import Prepared
from shared.store.records import Records
from shared.store.tables import INBOX, OUTBOX

_ROWS = 500
"""Rows of one statement: databases bound the number of its parameters."""

# Building a statement costs more than executing it, so it is built once.
_HANDLED = select(INBOX.c.message_id).where(
    INBOX.c.queue == bindparam("queue_"), INBOX.c.message_id.in_(bindparam("names", expanding=True))
)
_NOTE = Prepared([column.name for column in INBOX.c], lambda _: INBOX.insert())
_QUEUED = ("exchange", "routing_key", "message_id", "headers", "mandatory", "body")
_ENQUEUE = Prepared([*_QUEUED, "created_at", "set_aside"], lambda _: OUTBOX.insert())
_LAST_ID = select(func.coalesce(func.max(OUTBOX.c.id), 0))
_AFTER = select(OUTBOX.c.id).where(OUTBOX.c.id > bindparam("last")).order_by(OUTBOX.c.id)


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
    """The reason why it can never be published; empty for a message to send."""


class Unit:
    """One transaction: all of it happens, or nothing."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.records = Records(connection)

    @contextmanager
    def part(self) -> Iterator[None]:
        """A part that may fail and be undone without undoing the rest."""
        self.records.flush()
        try:
            with self.connection.begin_nested():
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
            # There is no other writer during a unit, so an absent id is new.
            known = self.connection.execute(_HANDLED, {"queue_": queue, "names": names})
            fresh = set(names).difference(known.scalars())
            rows = [{"queue": queue, "message_id": name, "handled_at": now} for name in fresh]
            _NOTE.execute(self.connection, rows)
            new |= fresh
        return new

    def enqueue(self, messages: Sequence[Queued]) -> list[Queued]:
        """Put messages into the outbox; returns them with their ids."""
        if not messages:
            return []
        now = datetime.now(UTC)
        rows = [
            {name: getattr(message, name) for name in _QUEUED}
            | {"mandatory": int(message.mandatory), "created_at": now}
            | {"set_aside": message.set_aside or None}
            for message in messages
        ]
        # There is no other writer during a unit, so all later ids are those of these rows.
        last = self.connection.execute(_LAST_ID).scalar_one()
        _ENQUEUE.execute(self.connection, rows)
        ids = self.connection.execute(_AFTER, {"last": last}).scalars()
        return [replace(m, id=int(n)) for m, n in zip(messages, ids, strict=True)]
