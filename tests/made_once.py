"""What is made once for all tests of a process, as to make it anew takes longer than most tests."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any

import structlog
from httpx._transports import default as httpx_transport
from sqlalchemy import Engine

from shared.store.migrate import migrate


def log_plainly() -> None:
    """Log exceptions without drawing a frame with all variables of all functions around them."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )


def share_trust() -> None:
    """Give all clients of httpx that trust the same authorities one context.

    Each would read and parse them all for itself, and every call of ``httpx.get`` makes a client.
    """
    made = httpx_transport.create_ssl_context

    @cache
    def shared(trust_env: bool, _file: str | None, _folder: str | None) -> ssl.SSLContext:
        return made(trust_env=trust_env)

    def chosen(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return made(verify, cert, trust_env)
        return shared(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))

    httpx_transport.create_ssl_context = chosen


def migration_by_copy() -> Callable[[Engine], None]:
    """Return a ``migrate`` that makes databases in memory as the first one was after it."""
    schema: list[str] = []

    def migrate_or_copy(engine: Engine) -> None:
        if engine.url.drivername != "sqlite" or engine.url.database:
            migrate(engine)
            return
        if not schema:
            migrate(engine)
        with closing(engine.raw_connection()) as pooled:
            connection: Any = pooled.driver_connection
            if schema:
                connection.executescript(schema[0])
            else:
                schema.append("\n".join(connection.iterdump()))

    return migrate_or_copy
