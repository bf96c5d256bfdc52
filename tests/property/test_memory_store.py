"""The store in memory, on which many lives of alerts are led, answers as the real one does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from shared.store import Collection, Store
from tests.property.memory_store import MemoryStore

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Thing(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    place: str | None
    status: str | None
    due: datetime | None


THINGS: Collection[Thing] = Collection(
    "things",
    Thing,
    key=lambda thing: thing.name,
    group=lambda thing: thing.place,
    status=lambda thing: thing.status,
    due=lambda thing: thing.due,
)
NAMES = st.sampled_from(["a", "b", "c", "d", "x" * 300])
PLACES = st.sampled_from(["here", "there"])
STATUSES = st.sampled_from(["open", "shut"])
MOMENTS = st.integers(0, 3).map(lambda hours: BEGIN + timedelta(hours=hours))
THING = st.builds(
    Thing,
    name=NAMES,
    place=st.none() | PLACES,
    status=st.none() | STATUSES,
    due=st.none() | MOMENTS,
)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "status": STATUSES | st.tuples(STATUSES, STATUSES),
        "group": PLACES,
        "due_before": MOMENTS,
        "limit": st.integers(1, 3),
        "offset": st.integers(0, 2),
        "newest_first": st.booleans(),
    },
)
STEP = st.one_of(
    st.tuples(st.just("put"), THING),
    st.tuples(st.just("put_all"), st.lists(THING, max_size=3, unique_by=lambda t: t.name)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("get"), NAMES),
    st.tuples(st.just("find"), ASKED),
    st.tuples(st.just("count"), st.none()),
)
LIFE = st.lists(st.tuples(st.lists(STEP, max_size=8), st.booleans()), max_size=5)


class _DiesError(Exception):
    """The process dies before its transaction is complete."""


@contextmanager
def _dying() -> Iterator[None]:
    try:
        yield
    except _DiesError:
        pass


def _do(records: Any, what: str, given_: Any) -> Any:
    if what == "find":
        return records.find(THINGS, **given_)
    if what == "count":
        return records.count(THINGS)
    return getattr(records, what)(THINGS, given_)


@settings(max_examples=60, deadline=None)
@given(LIFE)
def test_it_answers_as_the_real_store_does(life: list[tuple[list[Any], bool]]) -> None:
    answers = []
    real = Store("sqlite://")
    for store in (real, MemoryStore()):
        said: list[Any] = []
        for steps, dies in life:
            with _dying(), store.transaction() as records:
                said += [_do(records, *step) for step in steps]
                if dies:
                    raise _DiesError
        with store.transaction() as records:
            said.append(_do(records, "find", {}))
        answers.append(said)
    real.close()
    assert answers[0] == answers[1]
