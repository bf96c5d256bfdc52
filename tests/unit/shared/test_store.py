"""The store's promises: all or nothing, once only, nothing forgotten before it is sent."""

import contextlib
import threading
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.store import Collection, Queued, Store, StoreUnavailable, give_way, opened, opening


class Note(BaseModel):
    name: str
    state: str = "open"
    due: datetime | None = None


NOTES = Collection(
    "notes", Note, key=lambda n: n.name, status=lambda n: n.state, due=lambda n: n.due
)


def _message(number: int = 1) -> Queued:
    return Queued("jobs", "job.submit", f"id-{number}", {"a": 1}, b"{}", mandatory=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/store.db")


def test_a_record_is_read_back_as_it_was_put(store: Store) -> None:
    with store.transaction() as records:
        records.put(NOTES, Note(name="a"))
        records.put(NOTES, Note(name="a", state="done"))
    with store.transaction() as records:
        assert records.get(NOTES, "a") == Note(name="a", state="done")
        assert records.find(NOTES, status="open") == []
        assert records.count(NOTES) == {"done": 1}


def test_records_are_found_by_status_and_due_time_in_order_of_creation(store: Store) -> None:
    now = datetime.now(UTC)
    with store.transaction() as records:
        for name, seconds in (("late", 60), ("soon", -1), ("none", None)):
            due = None if seconds is None else now + timedelta(seconds=seconds)
            records.put(NOTES, Note(name=name, due=due))
        assert [n.name for n in records.find(NOTES)] == ["late", "soon", "none"]
        assert [n.name for n in records.find(NOTES, due_before=now)] == ["soon"]


def test_an_error_undoes_records_inbox_and_outbox_together(store: Store) -> None:
    def fail_late() -> None:
        with store.unit() as unit:
            unit.records.put(NOTES, Note(name="a"))
            unit.first_times("q", ["m"])
            unit.enqueue([_message()])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_late()
    with store.unit() as unit:
        assert unit.records.get(NOTES, "a") is None
        assert unit.first_times("q", ["m"]) == {"m"}
    assert store.unsent() == []


def test_a_failed_part_is_undone_without_the_rest(store: Store) -> None:
    with store.unit() as unit:
        unit.records.put(NOTES, Note(name="kept"))
        with contextlib.suppress(RuntimeError), unit.part():
            unit.records.put(NOTES, Note(name="undone"))
            raise RuntimeError
    with store.transaction() as records:
        assert [n.name for n in records.find(NOTES)] == ["kept"]


def test_a_message_is_handled_for_the_first_time_once_per_queue(store: Store) -> None:
    with store.unit() as unit:
        assert unit.first_times("q", ["m", "n", "m"]) == {"m", "n"}
        assert unit.first_times("q", ["n", "o"]) == {"o"}
        assert unit.first_times("other", ["m"]) == {"m"}


def test_the_outbox_keeps_messages_until_they_are_sent(store: Store) -> None:
    with store.unit() as unit:
        ids = [m.id for m in unit.enqueue([_message(n) for n in range(3)])]
    assert [m.message_id for m in store.unsent()] == ["id-0", "id-1", "id-2"]
    store.sent([i for i in ids[:2] if i is not None])
    assert [m.message_id for m in store.unsent()] == ["id-2"]
    assert store.unsent_count() == 1


def test_who_takes_a_message_out_twice_takes_out_nothing_else(store: Store) -> None:
    with store.unit() as unit:
        (first,) = unit.enqueue([_message(1)])
    assert first.id is not None
    store.sent([first.id])
    with store.unit() as unit:
        (second,) = unit.enqueue([_message(2)])
    store.sent([first.id])
    assert store.unsent() == [second]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_keeps_nothing_in_the_outbox(
    store: Store, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    with store.unit() as unit:
        unit.enqueue([_message()])
    assert store.unsent(older_than_s=60) == [], "its writer is sending it"

    class Stepped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr("shared.store.store.datetime", Stepped)
    assert [m.message_id for m in store.unsent(older_than_s=60)] == ["id-1"]


def test_opening_a_database_again_keeps_what_is_in_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with Store(url).transaction() as records:
        records.put(NOTES, Note(name="a"))
    with Store(url).transaction() as records:
        assert records.get(NOTES, "a") is not None


def test_without_a_limit_all_records_are_found(store: Store) -> None:
    """A kill switch past the first thousand is still one."""
    with store.transaction() as records:
        records.put_all(NOTES, [Note(name=f"n{number}") for number in range(1_500)])
    with store.transaction() as records:
        assert len(records.find(NOTES)) == 1_500
        assert len(records.find(NOTES, status="open", offset=1_400)) == 100
        assert len(records.find(NOTES, limit=7)) == 7


GROUPED = Collection("grouped", Note, key=lambda n: n.name, group=lambda n: n.state)

_LONG = "n" * 400
_NAMES = [_LONG, _LONG + "x", "a\0b", "a\0c", "\ud800", "\ud801", "ä" * 300, "ä" * 301, "", "~"]


def test_whatever_text_a_stranger_chose_is_a_key_of_its_own() -> None:
    rows = [GROUPED.row(Note(name=name, state=name)) for name in _NAMES]
    for row in rows:
        for column in (row["key"], row["group_key"]):
            assert len(column) <= 300
            assert "\0" not in column
            column.encode()
    assert len({row["key"] for row in rows}) == len(_NAMES)


def test_a_record_with_a_long_key_is_found_replaced_and_deleted_by_it(store: Store) -> None:
    with store.transaction() as records:
        records.put(GROUPED, Note(name=_LONG, state=_LONG))
        records.put(GROUPED, Note(name=_LONG + "x", state=_LONG))
    with store.transaction() as records:
        records.read_ahead(GROUPED, keys=[_LONG], groups=[_LONG], newest=5)
        assert records.get(GROUPED, _LONG) == Note(name=_LONG, state=_LONG)
        assert [n.name for n in records.find(GROUPED, group=_LONG)] == [_LONG, _LONG + "x"]
        records.delete(GROUPED, _LONG)
        assert records.get(GROUPED, _LONG) is None
    with store.transaction() as records:
        assert [n.name for n in records.find(GROUPED, group=_LONG)] == [_LONG + "x"]


def test_what_was_set_aside_is_not_sent_again_and_keeps_its_reason(store: Store) -> None:
    with store.unit() as unit:
        first, second = unit.enqueue([_message(1), _message(2)])
    assert first.id is not None
    assert [store.refused(first.id) for _ in range(3)] == [1, 2, 3]
    store.set_aside({first.id: "its headers take 131,000 bytes"})
    assert [queued.id for queued in store.unsent()] == [second.id]
    assert store.unsent_count() == 1
    (kept,) = store.those_set_aside()
    assert (kept.message_id, kept.set_aside) == ("id-1", "its headers take 131,000 bytes")
    store.retry([first.id])
    assert [queued.id for queued in store.unsent()] == [first.id, second.id]


def test_who_works_in_many_transactions_lets_others_have_theirs_between(store: Store) -> None:
    begun, left = threading.Event(), 1_000

    def in_many_transactions() -> None:
        nonlocal left
        while left and not done.is_set():
            with store.transaction() as records:
                for number in range(500):
                    records.put(NOTES, Note(name=f"many-{number}"))
                begun.set()
            left -= 1
            give_way()

    done = threading.Event()
    worker = threading.Thread(target=in_many_transactions)
    worker.start()
    begun.wait()
    with store.transaction() as records:
        records.put(NOTES, Note(name="one"))
    done.set()
    worker.join()

    assert left


def test_a_database_that_is_restarted_beside_its_service_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[str] = []
    store = object()

    def answers_at_last(url: str) -> object:
        tries.append(url)
        if len(tries) < 4:
            raise StoreUnavailable("connection refused")
        return store

    monkeypatch.setattr(opening, "Store", answers_at_last)
    assert opened("postgresql+psycopg://task@db/task", pause_s=0) is store
    assert len(tries) == 4

    tries.clear()
    with pytest.raises(StoreUnavailable, match="refused"):
        opened("postgresql+psycopg://task@db/task", wait_s=0)
    with pytest.raises(StoreUnavailable, match="refused"):
        opened("sqlite:////nowhere/task.db", pause_s=0)
    assert len(tries) == 2, "a file that is not there will not come by waiting"
