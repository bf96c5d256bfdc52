"""Models that are kept beside the database: they save parsing, and change no answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from shared.store import Collection, Store
from shared.store.parsed import Parsed


class Note(BaseModel):
    model_config = ConfigDict(frozen=True)

    key: str
    text: str


@pytest.fixture
def notes() -> Collection[Note]:
    return Collection("notes", Note, key=lambda note: note.key, kept=10)


@pytest.fixture
def store(tmp_path: Any) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/notes.db")
    yield made
    made.close()


def test_a_record_is_not_parsed_again_whoever_reads_it(
    store: Store, notes: Collection[Note]
) -> None:
    written = Note(key="a", text="first")
    with store.transaction() as records:
        records.put(notes, written)
    with store.transaction() as records:
        assert records.get(notes, "a") is written
    with store.reading() as records:
        assert records.find(notes)[0] is written


def test_what_was_written_and_undone_is_given_to_nobody(
    store: Store, notes: Collection[Note]
) -> None:
    with store.transaction() as records:
        records.put(notes, Note(key="a", text="first"))

    def undone() -> None:
        with store.transaction() as records:
            records.put(notes, Note(key="a", text="second"))
            records.flush()
            raise LookupError

    with pytest.raises(LookupError):
        undone()
    with store.transaction() as records:
        assert records.get(notes, "a") == Note(key="a", text="first")


def test_what_another_process_has_written_is_read(store: Store, notes: Collection[Note]) -> None:
    with store.transaction() as records:
        records.put(notes, Note(key="a", text="first"))
    of_another = Collection("notes", Note, key=lambda note: note.key)
    with store.transaction() as records:
        records.put(of_another, Note(key="a", text="second"))
    with store.transaction() as records:
        assert records.get(notes, "a") == Note(key="a", text="second")


def test_a_deleted_record_is_not_kept(store: Store, notes: Collection[Note]) -> None:
    with store.transaction() as records:
        records.put(notes, Note(key="a", text="first"))
    with store.transaction() as records:
        records.delete(notes, "a")
    with store.transaction() as records:
        assert records.get(notes, "a") is None
        assert records.find(notes) == []
    assert len(notes.parsed) == 0


def test_no_more_models_are_kept_than_were_asked_for() -> None:
    parsed = Parsed(Note, 2)
    for number in range(5):
        parsed.keep(str(number), "{}", Note(key=str(number), text=""))
        assert len(parsed) <= 2
    none = Parsed(Note, 0)
    none.keep("a", "{}", Note(key="a", text=""))
    assert len(none) == 0
