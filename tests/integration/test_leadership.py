"""Who leads, on a real PostgreSQL: a replica that was taken over from writes nothing any more."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.service.leadership import TERM_S, Leadership, Role
from shared.store import Collection, NotLeader, Store, StoreInUse, StoreUnavailable
from tests.postgresql import PrivatePostgres
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


class Note(BaseModel):
    name: str
    by: str = ""


NOTES = Collection("notes", Note, key=lambda note: note.name)


class Replica:
    """A store, and what this replica thinks of its own leadership."""

    def __init__(self, url: str) -> None:
        self.now = 0.0
        self.events: list[str] = []
        self.store = Store(url)
        self.leadership = Leadership(
            self.store.leader_row(),
            lambda: self.events.append("begun"),
            lambda: self.events.append("over"),
            clock=lambda: self.now,
        )

    def looks_at(self, now: float) -> Role:
        self.now = now
        self.leadership.step()
        return self.leadership.role

    def writes(self, name: str, by: str) -> None:
        with self.store.of_leader().transaction() as records:
            records.put(NOTES, Note(name=name, by=by))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    server = PrivatePostgres(tmp_path_factory.mktemp("postgresql"), ("task", "healer", "client"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def pair(database: PrivatePostgres) -> Iterator[tuple[Replica, Replica]]:
    """Two replicas, of which the first leads."""
    first, second = Replica(database.url()), Replica(database.url())
    assert first.looks_at(0.0) is Role.LEADER
    assert second.looks_at(0.0) is Role.STANDBY
    yield first, second
    for replica in (first, second):
        replica.leadership.release()
        replica.store.leader_row().release()
        replica.store.close()


def test_a_beat_keeps_the_term_whatever_the_clocks_say(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    for now in range(100):
        assert first.looks_at(now) is Role.LEADER
        # This machine's clock is years ahead, and runs at half the speed.
        assert second.looks_at(1e9 + now / 2) is Role.STANDBY
        first.leadership.require()


def test_who_was_taken_over_from_neither_writes_nor_acts(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    first.writes("before", "first")
    assert second.looks_at(TERM_S) is Role.LEADER
    second.writes("after", "second")

    with pytest.raises(NotLeader, match="leads no more"):
        first.writes("after", "first")
    first.now = TERM_S
    with pytest.raises(NotLeader):
        first.leadership.require()
    assert first.looks_at(TERM_S + 1) is Role.DEPOSED
    assert first.events == ["begun", "over"]
    with second.store.reading() as records:
        assert records.get(NOTES, "after") == Note(name="after", by="second")


def test_what_every_replica_may_do_is_not_fenced(pair: tuple[Replica, Replica]) -> None:
    _, second = pair
    with second.store.transaction() as records:
        records.put(NOTES, Note(name="door", by="standby"))


def test_a_leader_stopped_in_the_middle_of_a_transaction_holds_nobody_up(
    pair: tuple[Replica, Replica],
) -> None:
    first, second = pair
    inside, go_on = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def stopped_in_the_middle() -> None:
        try:
            with first.store.of_leader().transaction() as records:
                records.put(NOTES, Note(name="torn", by="first"))
                records.flush()
                inside.set()
                go_on.wait(600)
        except StoreUnavailable as error:
            failed.append(error)

    thread = threading.Thread(target=stopped_in_the_middle)
    thread.start()
    assert inside.wait(60)
    # Its first try may wait for the session that is being ended.
    eventually(lambda: second.looks_at(TERM_S) is Role.LEADER, "the take-over")
    second.writes("torn", "second")
    go_on.set()
    thread.join(60)

    assert len(failed) == 1
    with second.store.reading() as records:
        assert records.get(NOTES, "torn") == Note(name="torn", by="second")


def test_a_leader_that_ends_in_order_is_followed_at_once(pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    first.leadership.release()

    assert second.looks_at(0.1) is Role.LEADER
    with pytest.raises(NotLeader):
        first.writes("late", "first")


def test_sqlite_serves_one_process_and_says_so_to_the_second(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/task.db"
    first = Store(url)
    first.claim()
    program = "import sys; from shared.store import Store; Store(sys.argv[1]).claim()"
    second = [sys.executable, "-c", program, url]
    refused = subprocess.run(second, cwd=ROOT, capture_output=True, text=True, check=False)

    assert refused.returncode != 0
    assert f"{StoreInUse.__name__}: another process (pid" in refused.stderr
    assert "replicas need PostgreSQL" in refused.stderr

    first.close()
    assert subprocess.run(second, cwd=ROOT, check=False).returncode == 0
