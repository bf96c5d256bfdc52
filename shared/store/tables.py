"""The tables every service's store has; changed only together with a migration."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy import BigInteger as Big

METADATA = MetaData()
KEY_WIDTH, STATUS_WIDTH = 300, 64
"""Characters of the columns that records are found by."""

_Serial = Big().with_variant(Integer, "sqlite")

RECORDS = Table(
    "records",
    METADATA,
    Column("collection", String(64), primary_key=True),
    Column("key", String(KEY_WIDTH), primary_key=True),
    Column("group_key", String(KEY_WIDTH)),
    Column("status", String(STATUS_WIDTH)),
    Column("due_at", DateTime(timezone=True)),
    Column("ordinal", _Serial, nullable=False),
    Column("data", Text, nullable=False),
    Index("records_by_status", "collection", "status", "ordinal"),
    Index("records_by_group", "collection", "group_key", "ordinal"),
    Index("records_by_due", "collection", "due_at"),
)
"""A service's records as JSON, with the columns they are looked up by."""

INBOX = Table(
    "inbox",
    METADATA,
    Column("queue", String(200), primary_key=True),
    Column("message_id", String(300), primary_key=True),
    Column("handled_at", DateTime(timezone=True), nullable=False, index=True),
)
"""Messages already handled: a second delivery of one has no effect."""

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("exchange", String(200), nullable=False),
    Column("routing_key", String(255), nullable=False),
    Column("message_id", String(300), nullable=False),
    Column("headers", JSON, nullable=False),
    Column("mandatory", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("refusals", Integer, nullable=False, server_default="0"),
    Column("set_aside", Text),
    Column("tries", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
"""Messages decided on but not yet confirmed by the broker.

An id is never given twice, on SQLite neither: who takes out a message that another one has sent and
taken out already, takes out nothing else.

``set_aside`` says why a message can never be published; it is kept for an operator. ``refusals``
counts how often the broker refused it when it was sent alone, ``tries`` how often it was sent and
not confirmed."""

LEADER = Table(
    "leader",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("term", Big, nullable=False),
    Column("beat", Big, nullable=False),
)
"""One row: the replica that works while the others stand by."""
