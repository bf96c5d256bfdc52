"""Whatever stands before a body is read, and what a copy keeps of it can be sent again."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pika.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.messaging import Delivery, Envelope, Reject, decode
from shared.messaging.limits import fault_of
from shared.messaging.tables import decode_table
from shared.service.copies import LEFT_OUT, copy, kept_headers
from tests.amqp import TABLES, fields, sized, text, timestamp


def _read(table: bytes) -> dict[Any, Any]:
    found, end = decode_table(struct.pack(">I", len(table)) + table + b"rest", 0)
    assert end == 4 + len(table), "what follows the table is read from its end"
    return found


def _delivery(headers: dict[str, Any], body: bytes = b"{}", name: str | None = "m") -> Delivery:
    return Delivery("task.jobs", 1, "jobs", "job.submit", headers, name, None, body)


def _copied(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers of a copy, as the outbox gives them back."""
    kept: dict[str, Any] = json.loads(orjson.dumps(kept_headers(_delivery(headers))))
    assert not fault_of(
        copy(_delivery({}), "to.task", "task.jobs.dead", kept | {"x-reason": "y" * 4_000})
    )
    return kept


@settings(deadline=None)
@given(table=TABLES)
def test_any_table_that_is_well_formed_is_read_and_can_be_copied(table: bytes) -> None:
    headers = _read(table)
    assert all(isinstance(name, str) for name in headers)
    _copied(headers)
    delivery = _delivery(headers)
    assert delivery.attempt >= 1
    assert delivery.returns >= 0
    assert len(Envelope.of(delivery).id) <= 200
    with pytest.raises(Reject):
        decode(delivery)


@settings(deadline=None)
@given(table=st.binary(max_size=400))
def test_any_bytes_are_read(table: bytes) -> None:
    _copied(_read(table))


@settings(deadline=None)
@given(
    table=st.dictionaries(
        st.text(max_size=40),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.text(),
            st.binary(),
            st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)).map(
                lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
            ),
            st.lists(st.text(max_size=5) | st.integers(-5, 5), max_size=3),
            st.dictionaries(st.text(max_size=5), st.integers(0, 5), max_size=3),
        ),
        max_size=8,
    )
)
def test_what_pika_writes_is_read_as_it_was(table: dict[str, Any]) -> None:
    pieces: list[bytes] = []
    pika.data.encode_table(pieces, table)
    found, _ = decode_table(b"".join(pieces), 0)
    assert found == table


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (timestamp(2**62), 2**62),
        (timestamp(2**64 - 1), 2**64 - 1),
        (b"l" + struct.pack(">q", -(2**63)), -(2**63)),
        (timestamp(0), datetime(1970, 1, 1, tzinfo=UTC)),
        (b"d" + struct.pack(">d", 0.5), 0.5),
        (b"D" + struct.pack(">Bi", 2, 314), Decimal("3.14")),
        (b"i" + struct.pack(">I", 2**32 - 1), 2**32 - 1),
        (sized(b"S", b"\xff"), b"\xff"),
    ],
)
def test_extreme_values_are_values(value: bytes, expected: object) -> None:
    headers = _read(fields([(b"x", value), (b"y", text("after"))]))
    assert headers == {"x": expected, "y": "after"}
    assert {"x", "y"} <= _copied(headers).keys()


@pytest.mark.parametrize("kind", [b"A", b"F"])
def test_a_nesting_deeper_than_the_stack_is_read_up_to_a_depth(kind: bytes) -> None:
    value = b"V"
    for _ in range(10_000):
        value = sized(kind, value if kind == b"A" else fields([(b"n", value)]))
    assert list(_read(fields([(b"x", value), (b"y", b"V")]))) == ["x", "y"]


def test_an_unknown_type_costs_what_follows_it_in_its_own_table() -> None:
    inner = sized(b"F", fields([(b"a", b"V"), (b"b", b"?"), (b"c", b"V")]))
    assert _read(fields([(b"x", inner), (b"y", b"V")])) == {"x": {"a": None}, "y": None}


@pytest.mark.parametrize("length", [60, 86, 120, 255])
def test_names_ids_and_types_that_grow_when_they_become_text_still_fit(length: int) -> None:
    """A byte that is no character becomes one of three bytes."""
    wild = b"\xff" * length
    headers = _read(fields([(wild, text("x"))]))
    name = wild.decode("utf-8", "replace")
    delivery = Delivery("task.jobs", 1, "jobs", "job.submit", headers, name, name, b"{}")
    assert not fault_of(copy(delivery, "to.task", "task.jobs.dead", kept_headers(delivery)))


@pytest.mark.parametrize("value", [0.5, [1, 0.5], {"a": 0.5}, b"\xff", 2**64 - 1, "x" * 100_000])
@pytest.mark.parametrize("name", ["x-original-routing-key", "x-original-exchange"])
def test_a_message_that_came_back_may_say_anything_of_where_it_was(name: str, value: Any) -> None:
    """Who writes to the queue itself, an operator, also writes what a copy keeps of it."""
    delivery = Delivery("task.jobs", 1, "", "task.jobs", {name: value}, "m", None, b"{}")
    assert not fault_of(copy(delivery, "to.task", "task.jobs.dead", kept_headers(delivery)))


def test_a_copy_keeps_what_the_platform_reads_and_says_how_much_it_left_out() -> None:
    headers = {f"pad-{n}": "p" * 1_900 for n in range(60)}
    kept = _copied(headers | {"cloudEvents_id": "42", "x-attempt": 3, "long": "x" * 130_000})
    assert (kept["cloudEvents_id"], kept["x-attempt"]) == ("42", 3)
    assert kept[LEFT_OUT] + len(kept) - 3 == 63
