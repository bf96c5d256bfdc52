"""Records within one transaction are as if each were written at once."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.store import Collection, Records, Store, Unit


class Thing(BaseModel):
    name: str
    group: str
    status: str


def _due(name: str) -> datetime:
    """The names backwards: an order that is not that of creation."""
    return datetime(2026, 1, 31 - ord(name) % 31, tzinfo=UTC)


THINGS = Collection(
    "things",
    Thing,
    key=lambda t: t.name,
    group=lambda t: t.group,
    status=lambda t: t.status,
    due=lambda t: _due(t.name),
)
_NAMES, _GROUPS, _STATUSES = st.sampled_from("abcd"), st.sampled_from("xy"), st.sampled_from("12")
STEPS = st.one_of(
    st.tuples(st.just("put"), _NAMES, _GROUPS, _STATUSES),
    st.tuples(st.just("delete"), _NAMES),
    st.tuples(st.just("get"), _NAMES),
    st.tuples(
        st.just("find"),
        st.none() | _GROUPS,
        st.none() | _STATUSES,
        st.booleans(),
        st.sampled_from([1, 2, 100]),
    ),
    st.tuples(
        st.just("read ahead"), st.sets(_NAMES), st.just({"x", "y"}), st.sampled_from([1, 2, 9])
    ),
    st.tuples(st.just("keys"), st.none() | _STATUSES, st.booleans(), st.sampled_from([1, 2, 9])),
    st.tuples(st.just("scan"), _STATUSES, st.sampled_from(["", "a", "B"])),
    st.tuples(st.just("of groups"), st.sets(_GROUPS), st.sets(_STATUSES), st.sampled_from([1, 9])),
    st.tuples(st.just("due"), st.booleans(), st.sampled_from([0, 1, 2]), st.sampled_from([1, 9])),
    st.tuples(st.just("count")),
    st.tuples(st.just("new transaction")),
    st.tuples(st.just("failed part"), _NAMES),
)


class Plain:
    """What records are, in a dictionary."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.memory: dict[str, tuple[str, Thing]] = {}

    def find(
        self, group: str | None, status: str | None, newest_first: bool, limit: int
    ) -> list[Thing]:
        found = [
            thing
            for thing in self.things.values()
            if group in {None, thing.group} and status in {None, thing.status}
        ]
        return (found[::-1] if newest_first else found)[:limit]


_thing = Thing.model_validate_json


class _Undone(Exception):
    pass


def _answers(store: Store, steps: list[tuple[Any, ...]]) -> list[tuple[Any, Any]]:
    """Return what the store says and what the dictionary says, step by step."""
    plain, said = Plain(), list[tuple[Any, Any]]()
    pending = [*steps]
    while pending:
        with store.unit() as unit:
            while pending and (step := pending.pop(0)) != ("new transaction",):
                said += _done(step, unit, plain)
    return said


def _done(step: tuple[Any, ...], unit: Unit, plain: Plain) -> list[tuple[Any, Any]]:
    """Do the step in both; what both say, if it is a question."""
    records = unit.records
    match step:
        case ("put", name, group, status):
            plain.things[name] = Thing(name=name, group=group, status=status)
            records.put(THINGS, plain.things[name])
        case ("delete", name):
            records.delete(THINGS, name)
            plain.things.pop(name, None)
        case ("get", name):
            return [(records.get(THINGS, name), plain.things.get(name))]
        case ("find", group, status, newest, limit):
            found = records.find(
                THINGS, group=group, status=status, newest_first=newest, limit=limit
            )
            again = records.find(
                THINGS,
                group=group,
                status=status,
                newest_first=newest,
                limit=limit,
                memory=plain.memory,
            )
            return [(found, plain.find(group, status, newest, limit)), (again, found)]
        case ("keys", status, newest, limit):
            asked = [status] if status else ["1", "2", "9"]
            keys = records.keys(THINGS, asked, limit=limit, offset=1, newest_first=newest)
            plainly = [
                thing.name
                for thing in plain.find(None, None, newest, len(plain.things))
                if thing.status in asked
            ]
            return [(keys, plainly[1 : limit + 1])]
        case ("read ahead", names, groups, newest):
            records.read_ahead(THINGS, keys=names, groups=groups, newest=newest)
        case ("count",):
            return [(sum(records.count(THINGS).values()), len(plain.things))]
        case ("failed part", name):
            with contextlib.suppress(_Undone), unit.part():
                records.put(THINGS, Thing(name=name, group="x", status="9"))
                raise _Undone
    return _listed(step, records, plain)


def _listed(step: tuple[Any, ...], records: Records, plain: Plain) -> list[tuple[Any, Any]]:
    """What both say to the questions that read lists."""
    match step:
        case ("scan", status, having):
            scanned = records.scan(THINGS, status, lambda _: True, [f'"name":"{having}'])
            texts = records.texts(THINGS, status, lambda _: True, [f'"name":"{having}'])
            with_it = [
                thing
                for thing in plain.find(None, status, True, len(plain.things))
                if having.casefold() in thing.name
            ]
            return [(list(scanned), with_it), ([*map(_thing, texts)], with_it)]
        case ("of groups", groups, statuses, limit):
            of_groups = records.of_groups(THINGS, groups, statuses, limit)
            both = [t for t in plain.things.values() if t.group in groups and t.status in statuses]
            return [(of_groups, both[:limit])]
        case ("due", latest, offset, limit):
            order: dict[str, Any] = {"latest_first" if latest else "soonest_first": True}
            by_time = records.find(THINGS, offset=offset, limit=limit, **order)
            ordered = sorted(plain.things.values(), key=lambda t: _due(t.name), reverse=latest)
            due = {name: at[:10] for name, at in records.due(THINGS).items()}
            written = {name: _due(name).date().isoformat() for name in plain.things}
            return [(by_time, ordered[offset : offset + limit]), (due, written)]
    return []


_AHEAD, _X = ("read ahead", set(), {"x", "y"}, 9), ("find", "x", None, True, 100)


@pytest.mark.slow
@example([("put", "a", "x", "1"), _AHEAD, ("delete", "a"), _X])
@example([_AHEAD, ("put", "a", "x", "1"), _X])
@example([("put", "a", "x", "1"), _AHEAD, ("put", "a", "x", "2"), _X, ("put", "a", "y", "2"), _X])
@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=10, max_size=40))
def test_every_question_sees_what_was_put_before(steps: list[tuple[Any, ...]]) -> None:
    store = Store("sqlite://")
    try:
        for got, wanted in _answers(store, [*steps, ("find", None, None, False, 100)]):
            assert got == wanted
    finally:
        store.close()


_SIGNS = st.text(alphabet=st.sampled_from('aAkK\u212asS\u017f1%_!"\\/ß'), max_size=5)


@given(_SIGNS, _SIGNS, st.integers(0, 4), st.integers(0, 5))
def test_the_database_leaves_out_no_record_that_has_a_text_in_any_case_of_letters(
    group: str, other: str, begin: int, end: int
) -> None:
    thing = Thing(name="a", group=group, status="1")
    data = thing.model_dump_json().casefold()
    store = Store("sqlite://")
    with store.transaction() as records:
        records.put(THINGS, thing)
        for text in (group[begin:end].upper(), group[begin:end].lower(), other):
            having = [json.dumps(text, ensure_ascii=False)[1:-1]]
            found = list(records.scan(THINGS, "1", lambda _: True, having))
            if having[0].casefold() in data:
                assert found == [thing]
            elif thing.group.isascii() and having[0].isascii():
                assert found == []
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
