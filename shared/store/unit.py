"""One transaction of the store: records, the inbox and the outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from shared.store.records import Records
from shared.store.tables import INBOX, OUTBOX

_ROWS = 500
"""Rows of one statement: databases bound the number of its parameters."""

# Building a statement costs more than executing it, so it is built once.
_HANDLED = select(INBOX.c.message_id).where(
    INBOX.c.queue == bindparam("queue_"), INBOX.c.message_id.in_(bindparam("names", expanding=True))
)


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
            if rows:
                self.connection.execute(INBOX.insert(), rows)
            new |= fresh
        return new

    def enqueue(self, messages: Sequence[Queued]) -> list[Queued]:
        """Put messages into the outbox; returns them with their ids."""
        if not messages:
            return []
        now = datetime.now(UTC)
        result = self.connection.execute(
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
