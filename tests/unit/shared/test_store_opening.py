"""A service whose database is not there waits for it, and then ends with one line that says why."""

from __future__ import annotations

import importlib
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.store import Store, opening

OF_SERVICES = {"task": "main", "autospec": "main", "client": "main", "healer": "run"}
"""The services with a database, and the function that is their program."""


class Clock:
    """A clock whose sleeps take no time."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(opening, "time", clock)
    return clock


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nothing answers, kept from everybody else."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def _end_of(
    service: str, url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, list[str]]:
    monkeypatch.setenv(f"BAROGRAPH_{service.upper()}_STORE_URL", url)
    code = getattr(importlib.import_module(f"services.{service}.main"), OF_SERVICES[service])()
    return code, capfd.readouterr().err.splitlines()


@pytest.mark.parametrize("service", OF_SERVICES)
def test_a_database_that_stays_away_ends_the_service_with_one_line_and_exit_status_1(
    service: str, closed_port: int, clock: Clock, monkeypatch, capfd
) -> None:
    url = f"postgresql+psycopg://{service}:secret@127.0.0.1:{closed_port}/jobs?password=secret"

    code, lines = _end_of(service, url, monkeypatch, capfd)

    assert code == 1
    (line,) = lines
    assert line.startswith(f"the {service} service ends: the database ")
    assert f"postgresql+psycopg://{service}:***@127.0.0.1:{closed_port}/jobs " in line
    assert "could not be used for 60 s" in line
    assert "refused" in line, "the driver's own reason, of two lines"
    assert line.endswith("; start the database and let this machine reach it, or correct STORE_URL")
    assert "secret" not in line
    assert clock.slept == 60


@pytest.mark.parametrize("service", OF_SERVICES)
def test_a_file_that_cannot_be_opened_ends_the_service_at_once(
    service: str, clock: Clock, monkeypatch, capfd
) -> None:
    code, lines = _end_of(service, "sqlite:////proc/nothing/jobs.db", monkeypatch, capfd)

    assert code == 1
    (line,) = lines
    assert "the database sqlite:////proc/nothing/jobs.db cannot be opened: " in line
    assert "make its directory" in line
    assert clock.slept == 0


def _no_database(file: Path) -> None:
    file.write_text("the notes of somebody else, which are longer than a header of SQLite is\n" * 9)


def _of_a_later_version(file: Path) -> None:
    Store(f"sqlite:///{file}").close()
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()


@pytest.mark.parametrize(
    ("made", "reason", "advice"),
    [
        (_no_database, "file is not a database", "move the file away, or correct STORE_URL"),
        (
            _of_a_later_version,
            "its schema is revision 9999, and this version knows up to",
            "start the version that made it or a later one, or restore a backup",
        ),
    ],
)
@pytest.mark.parametrize("service", OF_SERVICES)
def test_a_database_that_answers_and_is_unfit_ends_the_service_at_once_with_one_line(
    service: str, made, reason: str, advice: str, tmp_path: Path, clock: Clock, monkeypatch, capfd
) -> None:
    made(tmp_path / "jobs.db")
    before = (tmp_path / "jobs.db").read_bytes()

    code, lines = _end_of(service, f"sqlite:///{tmp_path}/jobs.db", monkeypatch, capfd)

    assert code == 1
    (line,) = lines
    assert line.startswith(f"the {service} service ends: the database sqlite:///{tmp_path}/jobs.db")
    assert f" cannot be used: {reason}" in line
    assert line.endswith(f"; {advice}")
    assert clock.slept == 0
    assert (tmp_path / "jobs.db").read_bytes() == before


@pytest.mark.parametrize(
    "url",
    [
        "hello secret",
        "oracle9://u:secret@h/d",
        "mysql://u:secret@h/d",
        "postgresql://u:x@h:secret/d",
    ],
)
@pytest.mark.parametrize("service", OF_SERVICES)
def test_a_url_of_no_database_is_a_fault_of_the_settings_and_its_text_is_not_shown(
    service: str, url: str, monkeypatch, capfd
) -> None:
    code, lines = _end_of(service, url, monkeypatch, capfd)

    assert code == 2
    (line,) = lines
    assert line.startswith("STORE_URL is not the URL of a database")
    assert "secret" not in line


def test_a_database_that_answers_in_time_is_opened(clock: Clock, monkeypatch) -> None:
    tries = iter([opening.StoreUnavailable("starting"), opening.StoreUnavailable("starting")])

    def store(_url: str) -> str:
        for error in tries:
            raise error
        return "the store"

    monkeypatch.setattr(opening, "Store", store)
    monkeypatch.setattr(opening, "_checked", lambda _url: False)
    assert opening.opened("postgresql+psycopg://h/d") == "the store"
    assert clock.slept == 2
