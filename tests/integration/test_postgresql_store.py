"""The store on a real PostgreSQL, as it is in a cluster: several replicas, one truth."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine, text

from shared.embedded.process import EmbeddedError
from shared.store import Collection, Store, StoreUnavailable, opened
from shared.store.migrate import create, upgrade
from tests.postgresql import PrivatePostgres, binaries

ROOT = Path(__file__).parents[2]


class Count(BaseModel):
    name: str
    value: int = 0


class Job(BaseModel):
    name: str
    state: str


COUNTS = Collection("counts", Count, key=lambda c: c.name)
JOBS = Collection("jobs", Job, key=lambda j: j.name, status=lambda j: j.state)
GROUPED = Collection(
    "grouped", Job, key=lambda j: j.name, group=lambda j: j.name, status=lambda j: j.state
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    server = PrivatePostgres(
        tmp_path_factory.mktemp("postgresql"), ("task", "healer", "client", "new", "refused")
    )
    try:
        server.start()
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)
    yield server
    server.stop()


def test_a_schema_without_rights_is_refused_at_once_in_one_line_that_says_what_to_grant(
    database: PrivatePostgres,
) -> None:
    url = database.url("refused")
    owner = create_engine(url)
    rights = "ALL ON SCHEMA public FROM public, pg_database_owner"
    with owner.begin() as connection:
        connection.execute(text(f"REVOKE {rights}"))
    with pytest.raises(StoreUnavailable) as without_any:
        opened(url)
    with owner.begin() as connection:
        connection.execute(text("GRANT USAGE ON SCHEMA public TO public"))
    with pytest.raises(StoreUnavailable) as without_create:
        opened(url)
    with owner.begin() as connection:
        connection.execute(text("GRANT CREATE ON SCHEMA public TO public"))
    opened(url).close()
    with owner.begin() as connection:
        connection.execute(text("REVOKE ALL ON alembic_version FROM refused"))
    owner.dispose()
    with pytest.raises(StoreUnavailable) as of_somebody_else:
        opened(url)

    for found in (without_any, without_create, of_somebody_else):
        (line,) = str(found.value).splitlines()
        assert "refused:***@" in line
        assert "cannot be used: permission denied for " in line or "no schema" in line
        assert "USAGE and CREATE on the schema" in line
        assert "LINE " not in line


def test_replicas_that_read_decide_and_write_at_once_do_not_overwrite_each_other(
    database: PrivatePostgres,
) -> None:
    replicas = [Store(database.url()) for _ in range(2)]
    together = threading.Barrier(4)

    def add(replica: Store) -> None:
        together.wait(600)
        for _ in range(50):
            with replica.transaction() as records:
                known = records.get(COUNTS, "both") or Count(name="both")
                records.put(COUNTS, Count(name="both", value=known.value + 1))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(add, replicas[n % 2]) for n in range(4)]:
            done.result(600)

    with replicas[0].transaction() as records:
        assert records.get(COUNTS, "both") == Count(name="both", value=200)
    for replica in replicas:
        replica.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_who_looks_sees_one_moment_whatever_is_written_meanwhile(
    engine: str, database: PrivatePostgres, tmp_path: Path
) -> None:
    url = database.url() if engine == "postgresql" else f"sqlite:///{tmp_path}/store.db"
    store = Store(url)
    with store.transaction() as records:
        records.put(JOBS, Job(name="a", state="starting"))

    with store.reading() as looking:
        states = looking.statuses(JOBS)
        with store.transaction() as records:
            records.put(JOBS, Job(name="a", state="running"))
        assert looking.keys(JOBS, states, limit=10) == ["a"]

    with store.reading() as looking:
        assert looking.statuses(JOBS) == ["running"]
    store.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_keys_are_found_by_their_beginning_as_it_is_written(
    engine: str, database: PrivatePostgres, tmp_path: Path
) -> None:
    url = database.url() if engine == "postgresql" else f"sqlite:///{tmp_path}/store.db"
    store = Store(url)
    with store.transaction() as records:
        records.put_all(JOBS, [Job(name=n, state="x") for n in ("ab-1", "ab-2", "AB-3", "a%", "b")])
        assert records.keys_beginning(JOBS, "ab-", 9) == ["ab-1", "ab-2"]
        assert records.keys_beginning(JOBS, "ab-", 1) == ["ab-1"]
        assert records.keys_beginning(JOBS, "a%", 9) == ["a%"]
        assert records.keys_beginning(JOBS, "c", 9) == []
        named = [("h 1", "x"), ("h 2", "y"), ("H 3", "x"), ("h%", "x"), ("hh 4", "x"), ("h 5", "x")]
        records.put_all(GROUPED, [Job(name=name, state=state) for name, state in named])
        found = records.groups_beginning(GROUPED, "x", "h ", 9)
        assert [job.name for job in found] == ["h 1", "h 5"]
        assert [job.name for job in records.groups_beginning(GROUPED, "x", "h", 2)] == ["h 1", "h%"]
    store.close()


@pytest.mark.parametrize("name", ["Web_9%", 'a!"b\\c', "\u212aelvin", "stra\u00dfe", "plain"])
def test_the_database_leaves_out_what_has_not_the_text_in_any_case_of_letters(
    database: PrivatePostgres, name: str
) -> None:
    store = Store(database.url())
    with store.transaction() as records:
        records.put(JOBS, Job(name=name, state="scanned"))
        records.put(JOBS, Job(name="another", state="scanned"))
        for text in (name.upper(), name.lower(), name.casefold(), name[2:4]):
            having = [json.dumps(text, ensure_ascii=False)[1:-1]]
            found = records.scan(JOBS, "scanned", lambda _: True, having)
            names = [job.name for job in found]
            assert name in names
            assert name.isascii() is False or text == name[2:4] or "another" not in names
            assert records.due(JOBS)[name] == ""
        records.delete(JOBS, name)
    store.close()


def test_replicas_that_start_at_once_on_an_empty_database_all_come_up(
    database: PrivatePostgres,
) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(Store, [database.url("healer")] * 4))

    for store in stores:
        assert store.unsent_count() == 0
        store.close()


def test_a_message_is_handled_by_one_of_two_replicas(database: PrivatePostgres) -> None:
    replicas = [Store(database.url()) for _ in range(2)]
    news = []
    for replica in replicas:
        with replica.unit() as unit:
            news.append(unit.first_times("task.jobs", ["m-1", "m-2"]))
        replica.close()

    assert news == [{"m-1", "m-2"}, set()]


def test_the_migration_step_makes_the_schema_and_may_be_repeated(
    database: PrivatePostgres,
) -> None:
    for _ in range(2):
        done = migrate(database.url("client"), "--wait", "60")
        assert (done.returncode, done.stdout) == (0, "the schema is current\n"), done.stderr


def test_the_schema_made_at_once_is_the_one_that_the_migrations_make(
    database: PrivatePostgres,
) -> None:
    engine = create_engine(database.url("new"))
    made = []
    for make in (create, upgrade):
        with engine.connect() as connection, connection.begin() as transaction:
            make(connection)
            made.append([connection.execute(text(look)).all() for look in _SCHEMA])
            transaction.rollback()
    engine.dispose()

    assert all(made[0])
    assert made[0] == made[1]


_COLUMNS = (
    "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,"
    " column_default FROM information_schema.columns WHERE table_schema = 'public'"
    " ORDER BY table_name, column_name"
)
_INDEXES = (
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
    " AND tablename <> 'alembic_version' ORDER BY indexname"
)
_SCHEMA = (_COLUMNS, _INDEXES, "SELECT * FROM leader", "SELECT version_num FROM alembic_version")


def test_a_role_reaches_no_other_services_database(database: PrivatePostgres) -> None:
    elsewhere = database.url("healer").rpartition("/")[0] + "/task"

    with pytest.raises(StoreUnavailable, match="permission denied for database"):
        Store(elsewhere)


def test_the_migration_step_says_why_it_failed_and_tells_no_password(
    database: PrivatePostgres,
) -> None:
    done = migrate(database.url("task", password="wrong-secret"))

    assert done.returncode == 1
    assert "password authentication failed" in done.stdout
    assert "wrong-secret" not in done.stdout + done.stderr


def migrate(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shared.store", *arguments],
        cwd=ROOT,
        env={"BAROGRAPH_STORE_URL": url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


_HOW_TO = (ROOT / "docs/how-to/back-up.md").read_text()


def _documented(program: str, database: PrivatePostgres, service: str, file: Path) -> None:
    """Run the documented command of ``program`` for this service's database and dump."""
    joined = _HOW_TO.replace("\\\n", " ")
    (line,) = [text for text in joined.splitlines() if text.strip().startswith(f"{program} ")]
    address = database.url(service).replace("+psycopg", "")
    line = re.sub(r"postgresql://\$s:[^\"]*", address, line).replace("$s.dump", str(file))
    command = [str(binaries() / program), *shlex.split(line)[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_database_comes_back_from_its_backup_also_on_an_empty_server(
    database: PrivatePostgres, tmp_path: Path
) -> None:
    file = tmp_path / "task.dump"
    store = Store(database.url())
    with store.transaction() as records:
        records.put(COUNTS, Count(name="kept", value=7))
    _documented("pg_dump", database, "task", file)
    with store.transaction() as records:
        records.put(COUNTS, Count(name="kept", value=8))
        records.put(COUNTS, Count(name="later", value=1))
    store.close()
    for service in ("task", "healer"):  # over what is there, and as if on an empty server
        _documented("pg_restore", database, service, file)
        restored = Store(database.url(service))
        with restored.transaction() as records:
            assert records.get(COUNTS, "kept") == Count(name="kept", value=7)
            assert records.get(COUNTS, "later") is None
            records.put(COUNTS, Count(name="kept", value=9))
        restored.close()
