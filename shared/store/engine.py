"""Connections of a service to its own database, SQLite or PostgreSQL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, make_url

from shared.trust import authorities

READING = "barograph_reading"
"""Marks the connection of a transaction that only reads."""

_LOG_PAGES = 8_000
"""Pages of SQLite's log (32 MiB) that are written to the database file together. A page that many
transactions change, as those of an index, is written there once for all of them; with SQLite's own
1,000 pages, a storm of alerts does so each second."""


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _trusted(url: str) -> dict[str, str]:
    """Return the authorities that count where the URL wants verification and names none."""
    query = make_url(url).query
    own = Path(os.path.expanduser("~/.postgresql/root.crt"))  # noqa: PTH111 - without a home, too
    given = "sslrootcert" in query or "PGSSLROOTCERT" in os.environ or own.exists()
    if given or not str(query.get("sslmode", "")).startswith("verify-"):
        return {}
    return {"sslrootcert": str(authorities() or "system")}


def engine(url: str, name: str = "barograph") -> Engine:
    """Connections to the database at ``url``, an SQLAlchemy URL.

    ``name`` is what the server calls them: by it a replica that takes over ends those of another.
    """
    if not url.startswith("sqlite"):
        named = {"application_name": name} | _trusted(url)
        return create_engine(url, pool_pre_ping=True, json_serializer=_json, connect_args=named)
    options: dict[str, Any] = {
        "json_serializer": _json,
        "connect_args": {"check_same_thread": False, "timeout": 30},
    }
    if url in ("sqlite://", "sqlite:///:memory:"):
        options["poolclass"] = StaticPool
    made = create_engine(url, **options)

    def configure(connection: Any, _record: object) -> None:
        # SQLAlchemy begins transactions itself (below): the driver's implicit ones start too
        # late to take the write lock up front.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")

    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    event.listen(made, "connect", configure)
    event.listen(made, "begin", begin)
    return made
