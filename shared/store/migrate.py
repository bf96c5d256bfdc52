"""Brings a database to the current schema at every start, one process at a time.

An empty database gets the schema in one step. Alembic, which takes a process 25 MB and a tenth of a
second to import, is needed for databases of earlier versions only.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, inspect, text

from shared.store.errors import StoreUnfit
from shared.store.tables import LEADER, METADATA

_MIGRATIONS = Path(__file__).parent / "migrations"
_NOTED = "alembic_version"
_NOTES = Table(_NOTED, MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own table."""
_LOCK = 7_160_420_185
"""Advisory lock of PostgreSQL: several replicas may start at once."""


def migrate(engine: Engine) -> None:
    """Upgrade the schema to the newest revision; does nothing when it is there.

    Raises:
        StoreUnfit: when a later version made its schema.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if not inspect(connection).get_table_names():
            create(connection)
            return
        found = _revision(connection)
        if found is not None and found > newest():
            reason = f"its schema is revision {found}, and this version knows up to {newest()}"
            raise StoreUnfit(
                reason, "start the version that made it or a later one, or restore a backup"
            )
        if found != newest():
            upgrade(connection)


def newest() -> str:
    """The last revision: files are numbered, and begin with what they are called."""
    files = sorted((_MIGRATIONS / "versions").glob("[0-9]*.py"))
    return files[-1].name.partition("_")[0]


def _revision(connection: Connection) -> str | None:
    """The database's revision, read without alembic, which takes longer to import than to run."""
    if not inspect(connection).has_table(_NOTED):
        return None
    return connection.execute(text(f"SELECT version_num FROM {_NOTED}")).scalar()  # noqa: S608 - a constant


def create(connection: Connection) -> None:
    """Make the schema of an empty database, the same as all migrations together make."""
    METADATA.create_all(connection)
    connection.execute(LEADER.insert().values(name="leader", holder="", term=0, beat=0))
    _NOTES.create(connection)
    connection.execute(_NOTES.insert().values(version_num=newest()))


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database has not had; all of them on an empty one."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
