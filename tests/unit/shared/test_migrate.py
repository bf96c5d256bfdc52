"""Tests of where the schema stands: known without alembic, and as alembic says."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from pydantic import BaseModel
from sqlalchemy import create_engine, inspect

from shared.store import Collection, Queued, opened
from shared.store import migrate as migrating
from shared.store.collection import fitted
from shared.store.migrate import create, migrate, newest, upgrade

_NOTED = "alembic_version"


def test_the_newest_revision_is_the_one_alembic_would_upgrade_to() -> None:
    scripts = ScriptDirectory(str(Path(migrating.__file__).parent / "migrations"))
    assert newest() == scripts.get_current_head()


def test_the_schema_made_at_once_is_the_one_that_the_migrations_make(tmp_path: Path) -> None:
    made = []
    for name, make in (("created", create), ("upgraded", upgrade)):
        engine = create_engine(f"sqlite:///{tmp_path}/{name}.db")
        with engine.begin() as connection:
            make(connection)
            schema = connection.exec_driver_sql("SELECT sql FROM sqlite_master").scalars()
            leader = connection.exec_driver_sql("SELECT * FROM leader").all()
            revision = connection.exec_driver_sql("SELECT * FROM alembic_version").scalars().all()
            statements = {re.sub(r"\s+", " ", sql or "") for sql in schema}
            made.append(({each for each in statements if _NOTED not in each}, leader, revision))
        engine.dispose()
    assert made[0] == made[1]


def test_what_is_made_at_once_is_migrated_by_alembic_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setattr(migrating, "newest", lambda: "0003")
    migrate(engine)
    monkeypatch.undo()
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE outbox DROP COLUMN tries")
    migrate(engine)
    columns = {column["name"] for column in inspect(engine).get_columns("outbox")}
    engine.dispose()
    assert "tries" in columns


def test_what_waits_in_the_outbox_of_an_earlier_version_waits_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with closing(opened(url)) as store, store.unit() as unit:
        (waits,) = unit.enqueue([Queued("e", "k", "m", {"a": 1}, b"body", mandatory=True)])
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    engine.dispose()
    with closing(opened(url)) as store:
        assert store.unsent() == [waits]


class _Note(BaseModel):
    name: str
    text: str = ""


_NOTES = Collection("notes", _Note, key=lambda note: note.name, group=lambda note: note.name)
_LONG, _ODD, _TWICE, _SHORT = "a" * 301, "b\0c", "d" * 400, "e"


def test_records_under_keys_that_do_not_fit_are_found_changed_and_deleted_again(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with closing(opened(url)) as store, store.transaction() as records:
        for name in (_LONG, _ODD, _TWICE, _SHORT):
            records.put(_NOTES, _Note(name=name, text="newer"))
    engine = create_engine(url)
    with engine.begin() as connection:
        write = "UPDATE records SET key = ?, group_key = ? WHERE key = ?"
        for name in (_LONG, _ODD):
            connection.exec_driver_sql(write, (name, name, fitted(name)))
        connection.exec_driver_sql(
            "INSERT INTO records SELECT collection, ?, group_key, status, due_at, ordinal, "
            "replace(data, 'newer', 'older') FROM records WHERE key = ?",
            (_TWICE, fitted(_TWICE)),
        )
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")
    engine.dispose()

    with closing(opened(url)) as store, store.transaction() as records:
        found = records.find(_NOTES)
        assert {(note.name, note.text) for note in found} == {
            (name, "newer") for name in (_LONG, _ODD, _TWICE, _SHORT)
        }
        assert [len(records.find(_NOTES, group=note.name)) for note in found] == [1, 1, 1, 1]
        for note in found:
            records.delete(_NOTES, note.name)
        assert records.find(_NOTES) == []


def test_an_empty_database_is_upgraded_and_one_that_is_current_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")
    migrate(engine)
    assert {"records", "outbox", "inbox"} <= set(inspect(engine).get_table_names())
    upgrades: list[object] = []
    monkeypatch.setattr(migrating, "upgrade", upgrades.append)
    migrate(engine)
    assert upgrades == []
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    migrate(engine)
    assert len(upgrades) == 1
    engine.dispose()
