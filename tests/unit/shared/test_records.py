"""Records within one transaction are as if each were written at once."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.store import Collection, Store


class Thing(BaseModel):
    name: str
    group: str
    status: str


THINGS = Collection(
    "things", Thing, key=lambda t: t.name, group=lambda t: t.group, status=lambda t: t.status
)
_NAMES, _GROUPS, _STATUSES = st.sampled_from("abcd"), st.sampled_from("xy"), st.sampled_from("12")
STEPS = st.one_of(
    st.tuples(st.just("put"), _NAMES, _GROUPS, _STATUSES),
    st.tuples(st.just("delete"), _NAMES),
    st.tuples(st.just("get"), _NAMES),
    st.tuples(st.just("find"), st.none() | _GROUPS, st.none() | _STATUSES, st.booleans()),
    st.tuples(st.just("count")),
    st.tuples(st.just("new transaction")),
    st.tuples(st.just("failed part"), _NAMES),
)


class Plain:
    """What records are, in a dictionary."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}

    def find(self, group: str | None, status: str | None, newest_first: bool) -> list[Thing]:
        found = [
            thing
            for thing in self.things.values()
            if group in {None, thing.group} and status in {None, thing.status}
        ]
        return found[::-1] if newest_first else found


class _Undone(Exception):
    pass


def _answers(store: Store, steps: list[tuple[Any, ...]]) -> list[tuple[Any, Any]]:
    """What the store says and what the dictionary says, step by step."""
    plain, said, memory = Plain(), list[tuple[Any, Any]](), dict[str, tuple[str, Thing]]()
    pending = [*steps]
    while pending:
        with store.unit() as unit:
            records = unit.records
            while pending:
                match pending.pop(0):
                    case ("put", name, group, status):
                        thing = Thing(name=name, group=group, status=status)
                        records.put(THINGS, thing)
                        plain.things[name] = thing
                    case ("delete", name):
                        records.delete(THINGS, name)
                        plain.things.pop(name, None)
                    case ("get", name):
                        said.append((records.get(THINGS, name), plain.things.get(name)))
                    case ("find", group, status, newest):
                        found = records.find(
                            THINGS, group=group, status=status, newest_first=newest
                        )
                        said.append((found, plain.find(group, status, newest)))
                        again = records.find(
                            THINGS, group=group, status=status, newest_first=newest, memory=memory
                        )
                        said.append((again, found))
                    case ("count",):
                        counted = records.count(THINGS)
                        said.append((sum(counted.values()), len(plain.things)))
                    case ("failed part", name):
                        try:
                            with unit.part():
                                records.put(THINGS, Thing(name=name, group="x", status="9"))
                                raise _Undone  # noqa: TRY301 - what a handler does
                        except _Undone:
                            pass
                    case _:
                        break
    return said


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_every_question_sees_what_was_put_before(steps: list[tuple[Any, ...]]) -> None:
    store = Store("sqlite://")
    try:
        for got, wanted in _answers(store, [*steps, ("find", None, None, False)]):
            assert got == wanted
    finally:
        store.close()


def test_a_record_that_is_as_it_was_gives_the_very_model_a_reader_remembers() -> None:
    store, memory = Store("sqlite://"), dict[str, tuple[str, Thing]]()
    with store.transaction() as records:
        records.put_all(THINGS, [Thing(name=name, group="x", status="1") for name in "abc"])
    with store.transaction() as records:
        first = records.find(THINGS, memory=memory)
        records.put(THINGS, Thing(name="b", group="x", status="2"))
        records.delete(THINGS, "c")
    with store.transaction() as records:
        second = records.find(THINGS, memory=memory)
    assert [thing.name for thing in second] == ["a", "b"]
    assert second[0] is first[0]
    assert second[1].status == "2"
    assert memory.keys() == {"a", "b"}
