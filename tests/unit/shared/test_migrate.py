"""Where the schema stands: known without alembic, and as alembic says."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from shared.store import migrate as migrating
from shared.store.migrate import migrate, newest


def test_the_newest_revision_is_the_one_alembic_would_upgrade_to() -> None:
    scripts = ScriptDirectory(str(Path(migrating.__file__).parent / "migrations"))
    assert newest() == scripts.get_current_head()


def test_an_empty_database_is_upgraded_and_one_that_is_current_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine)
    assert {"records", "outbox", "inbox"} <= set(inspect(engine).get_table_names())
    upgrades: list[object] = []
    monkeypatch.setattr(migrating, "_upgrade", upgrades.append)
    migrate(engine)
    assert upgrades == []
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    migrate(engine)
    assert len(upgrades) == 1
    engine.dispose()
