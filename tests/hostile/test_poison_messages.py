"""Poison on a real broker: it costs itself and is kept with its reason; what follows is handled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pika
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pika.exceptions import ChannelClosedByBroker

from shared.contracts import JobAccepted
from shared.messaging import DeadLetters, Outgoing
from shared.messaging.limits import MAX_MESSAGE_BYTES
from shared.store import StoreUnavailable
from tests.amqp import TABLES, RawProperties, fields, sized, text, timestamp
from tests.brokers import BrokerUnderTest
from tests.integration.test_runner import Pair, soon, submit

_LARGEST_TABLE = 130_950
"""With it a message's header is just within the frame of 131,072 bytes."""


@pytest.fixture(scope="module")
def pair(broker: BrokerUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    running = Pair(broker, tmp_path_factory.mktemp("poison"))
    running.start()
    yield running
    running.stop()


class Stranger:
    """An outside publisher that writes its messages byte by byte."""

    def __init__(self, broker: BrokerUnderTest) -> None:
        self.broker = broker
        self._connection = pika.BlockingConnection(pika.URLParameters(broker.url("outside")))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def send(self, table: bytes, body: bytes, name: bytes = b"stranger") -> None:
        properties: Any = RawProperties(table, name)
        self._channel.basic_publish("jobs", "job.submit", body, properties)

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()


@pytest.fixture(scope="module")
def stranger(pair: Pair, broker: BrokerUnderTest) -> Iterator[Stranger]:
    del pair  # which declares the exchanges
    with closing(Stranger(broker)) as opened:
        yield opened


class Good:
    """Good jobs, one after the other."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._count = 0

    def is_still_handled(self) -> None:
        self._count += 1
        name = f"good-{self._count}"
        self._pair.client.bus.publish([submit(name)])
        soon(lambda: name in self._pair.accepted(), "the good job after it")


@pytest.fixture(scope="module")
def good(pair: Pair) -> Good:
    return Good(pair)


def _dead(pair: Pair, name: str) -> list[dict[str, Any]]:
    """Wait for the dead letters of this id: the event of a good job after it may be quicker."""
    found: list[dict[str, Any]] = []

    def came() -> bool:
        found.extend(d for d in pair.dead() if d["properties"]["message_id"] == name)
        return bool(found)

    soon(came, "the dead letter")
    return found


def _lost(pair: Pair) -> int:
    return pair.task.bus._in.lost + pair.task.bus._out.lost


_NESTED = b"V"
for _ in range(5_000):
    _NESTED = sized(b"A", _NESTED)

_POISON = {
    "a time after the year 9999": fields([(b"x", timestamp(2**62))]),
    "the largest time": fields([(b"x", timestamp(2**64 - 1))]),
    "a nesting deeper than the stack": fields([(b"x", _NESTED)]),
    "a table that fills its frame": fields([(b"pad", text("x" * (_LARGEST_TABLE - 9)))]),
    "thousands of headers": fields([(b"h%d" % n, b"V") for n in range(15_000)]),
    "names that are no text": fields([(b"\xff\xfe", text("x")), (b"", text("y"))]),
    "text that is none": fields([(b"cloudEvents_id", sized(b"S", b"\xff\x00\xfe"))]),
    "a version of 5,000 digits": fields(
        [
            (b"cloudEvents_type", text("barograph.job.submit.v" + "9" * 5_000)),
            (b"x-attempt", b"B\6"),
        ]
    ),
    "an id of 100,000 characters": fields([(b"cloudEvents_id", text("i" * 100_000))]),
    "an id with a zero byte": fields([(b"cloudEvents_id", text("a\0b"))]),
    "further addresses, none of them": fields(
        [(b"CC", sized(b"A", b"")), (b"BCC", sized(b"A", b""))]
    ),
    "a decimal with 255 places": fields([(b"x", b"D\xff\x7f\xff\xff\xff")]),
}


@pytest.mark.parametrize("table", _POISON.values(), ids=_POISON)
def test_a_poisonous_header_costs_its_message_alone(
    pair: Pair, stranger: Stranger, good: Good, table: bytes
) -> None:
    pair.dead()
    lost = _lost(pair)
    stranger.send(table, b"not json")
    good.is_still_handled()
    assert len(_dead(pair, "stranger")) == 1
    assert _lost(pair) == lost, "no connection was lost"


_DEEP = 100_000
_BODIES = {
    "nesting": b"[" * _DEEP + b"]" * _DEEP,
    "deep in a field": b'{"job_id":' + b'{"a":' * _DEEP + b"1" + b"}" * (_DEEP + 1),
    "an integer of a million digits": b'{"workers":' + b"9" * 1_000_000 + b"}",
    "a float beyond all": b'{"workers":1e999999999}',
    "NaN": b'{"workers":NaN}',
    "a lone surrogate": b'{"job_id":"\\ud800","name":"\\udfff"}',
    "a zero byte": b'{"job_id":"a\\u0000b","name":"\\u0000"}',
    "no text at all": b"\xff\xfe\x00" * 1000,
    "a name of a million characters": b'{"' + b"n" * 1_000_000 + b'":1}',
    "a hundred thousand faults": json.dumps({"args": [None] * 100_000}).encode(),
    "a body over the bound": b'{"job_id":"' + b"x" * (9 * 1024 * 1024) + b'"}',
}


@pytest.mark.parametrize("body", _BODIES.values(), ids=_BODIES)
def test_a_poisonous_body_costs_its_message_alone(
    pair: Pair, stranger: Stranger, good: Good, body: bytes
) -> None:
    pair.dead()
    refusals = len(pair.refused())
    stranger.send(b"", body)
    good.is_still_handled()
    assert len(_dead(pair, "stranger")) == 1
    soon(lambda: len(pair.refused()) == refusals + 1, "the refusal")
    (told,) = pair.refused()[refusals:]
    assert len(told.model_dump_json()) < 200_000


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(table=TABLES, body=st.binary(max_size=60), name=st.binary(max_size=255))
def test_any_message_is_settled_and_a_good_one_after_it_is_handled(
    pair: Pair, broker: BrokerUnderTest, good: Good, table: bytes, body: bytes, name: bytes
) -> None:
    lost = _lost(pair)
    with closing(Stranger(broker)) as stranger:
        try:
            stranger.send(table, body, name)
        except pika.exceptions.AMQPError:
            pass  # The broker takes no such table, and says so to its sender.
    good.is_still_handled()
    assert _lost(pair) == lost
    assert pair.store.those_set_aside() == []


def test_poison_between_good_jobs_costs_none_of_them(pair: Pair, stranger: Stranger) -> None:
    """All in one burst, so that they share a batch."""
    version = text("barograph.job.submit.v" + "9" * 5_000)
    for number in range(20):
        body = submit(f"innocent-{number}").model_dump_json().encode()
        stranger.send(b"", body, b"n%d" % number)
        if number == 9:
            stranger.send(fields([(b"cloudEvents_type", version), (b"x-attempt", b"B\6")]), b"{}")
    names = {f"innocent-{number}" for number in range(20)}
    soon(lambda: names <= set(pair.accepted()), "all of the good jobs")
    assert not [r for r in pair.refused() if r.job_id in names]


def test_a_row_of_the_outbox_that_breaks_a_limit_is_set_aside_with_the_reason(
    pair: Pair, good: Good
) -> None:
    """A row that an older version stored, before it measured."""
    from shared.service.outbox import as_queued

    bad = Outgoing("jobs", "job.accepted", b"{}", "too-large", {"pad": "x" * 131_000})
    with pair.store.unit() as unit:
        (row,) = unit.enqueue([as_queued(bad)])
    with pair.task.unit() as unit:
        unit.queued.append(row)
    (kept,) = pair.store.those_set_aside()
    assert "headers take" in kept.set_aside
    soon(lambda: pair.store.unsent_count() == 0, "an outbox with nothing else")
    good.is_still_handled()


def test_an_event_that_breaks_its_own_contract_never_leaves(pair: Pair, good: Good) -> None:
    accepted = JobAccepted.model_construct(
        job_id="\ud800", name="n", state="accepted", sequence=1, at=None, submit=None
    )
    before = len(pair.store.those_set_aside())
    with pair.task.unit() as unit:
        unit.emit(accepted)
    *_, kept = pair.store.those_set_aside()
    assert len(pair.store.those_set_aside()) == before + 1
    assert "breaks its own contract" in kept.set_aside
    good.is_still_handled()


def test_an_outage_of_the_database_dead_letters_nobody(
    pair: Pair, good: Good, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.dead()
    tried: list[int] = []
    store_unit = pair.store.unit

    def away() -> Any:
        tried.append(1)
        raise StoreUnavailable("the database is unavailable")

    names = {f"patient-{number}" for number in range(6)}
    monkeypatch.setattr(pair.store, "unit", away)
    pair.client.bus.publish([submit(name) for name in sorted(names)])
    soon(lambda: len(tried) >= 3, "attempts during the outage")
    monkeypatch.setattr(pair.store, "unit", store_unit)
    soon(lambda: names <= set(pair.accepted()), "all of them")
    assert pair.dead() == []
    good.is_still_handled()


def test_the_broker_takes_no_message_beyond_the_bound(stranger: Stranger, good: Good) -> None:
    huge = b"x" * (MAX_MESSAGE_BYTES + 1)
    with closing(Stranger(stranger.broker)) as sender, pytest.raises(ChannelClosedByBroker):
        sender.send(b"", huge)
    good.is_still_handled()


def test_many_large_messages_are_all_settled(
    pair: Pair, stranger: Stranger, good: Good, broker: BrokerUnderTest
) -> None:
    letters = DeadLetters(broker.url("operator"))
    before = letters.counts()["task.jobs"]
    body = b"[" + b" " * (MAX_MESSAGE_BYTES // 2 - 1)
    for number in range(12):
        stranger.send(b"", body, b"large-%d" % number)
    good.is_still_handled()
    soon(lambda: letters.counts()["task.jobs"] >= before + 12, "all of them")
