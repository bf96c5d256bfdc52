"""Migrates a database to the current schema at every start, one process at a time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

_MIGRATIONS = Path(__file__).parent / "migrations"
_NOTED = "alembic_version"
"""Alembic's own table."""
_LOCK = 7_160_420_185
"""Advisory lock of PostgreSQL: several replicas may start at once."""


def migrate(engine: Engine) -> None:
    """Upgrade the schema to the newest revision; does nothing when it is there."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if _revision(connection) != newest():
            _upgrade(connection)


def newest() -> str:
    """The last revision: files are numbered, and begin with what they are called."""
    files = sorted((_MIGRATIONS / "versions").glob("[0-9]*.py"))
    return files[-1].name.partition("_")[0]


def _revision(connection: Connection) -> str | None:
    """The database's revision, read without alembic, which takes longer to import than to run."""
    if not inspect(connection).has_table(_NOTED):
        return None
    return connection.execute(text(f"SELECT version_num FROM {_NOTED}")).scalar()  # noqa: S608 - a constant


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
