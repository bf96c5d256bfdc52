"""Tests of what a request to the gateway may make it hold or compute, however small it comes."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

import shared.machine
from services.detector.gateway.known import Limits
from services.detector.gateway.otlp import Otlp, parsed, translated
from services.detector.gateway.otlp_totals import Totals
from services.detector.gateway.remote_write import Message, Received, Receiver
from shared.machine import machine_for
from shared.samples import InvalidBatch
from tests.remote_write import field, number, request_1

_NOW = 1_700_000_000_000
_MIB = 2**20
_X = field(1, field(1, b"__name__") + field(2, b"x"))


def _read(receiver: Receiver, body: bytes, message: Message) -> Received:
    return receiver.read(np.frombuffer(body, dtype=np.uint8), message, _NOW)


MANY: dict[str, tuple[Message, bytes]] = {
    "metadata": (Message.V1, b"\x1a\x00" * 50_001),
    "series": (Message.V1, b"\x0a\x00" * 50_001),
    "samples": (Message.V1, field(1, _X + b"\x12\x00" * 50_001)),
    "histograms": (Message.V1, field(1, _X + b"\x22\x00" * 50_001)),
    "labels": (Message.V1, field(1, b"\x0a\x00" * 2_000_001)),
    "symbols": (Message.V2, b"\x22\x00" * 2_000_001 + field(5, b"")),
}


@pytest.mark.parametrize("what", MANY)
def test_a_request_is_counted_before_anything_is_made_of_it(what: str) -> None:
    message, body = MANY[what]
    receiver = Receiver("", lambda _: 0)
    with pytest.raises(InvalidBatch, match=rf"more than \d+ {what} in one request"):
        _read(receiver, body, message)
    assert len(receiver.known) == 0


def test_labels_of_references_are_more_than_packed_numbers() -> None:
    references = b"".join(b"\x08" + number(0) for _ in range(4_000_004))
    with pytest.raises(InvalidBatch, match="labels"):
        _read(Receiver("", lambda _: 0), b"\x22\x00" + field(5, references), Message.V2)


def test_symbols_that_are_said_once_and_meant_often_fill_no_memory() -> None:
    receiver = Receiver("", lambda _: 0, Limits(series=1_000_000))
    names = [b"", b"__name__", b"instance", b"h", *(b"m%d" % i for i in range(3000))]
    symbols = b"".join(field(4, name) for name in [*names, b"L" * 15_000])
    long = number(len(names)) * 8
    series = (field(5, field(1, b"\x01" + number(4 + i) + b"\x02\x03" + long)) for i in range(3000))
    _read(receiver, symbols + b"".join(series), Message.V2)
    assert receiver.known.nbytes < 200 * _MIB
    again = _read(receiver, request_1(({"__name__": "a"}, [(_NOW, 1.0)])), Message.V1)
    assert (again.taken, again.faults) == (1, [])


def test_long_metadata_is_left_out_and_what_stands_beside_it_is_not() -> None:
    receiver = Receiver("", lambda _: 0)
    good = field(3, b"\x08\x01" + field(2, b"requests"))
    body = field(3, b"\x08\x01" * 40_000) + good + request_1(({"__name__": "a"}, [(_NOW, 1.0)]))
    assert _read(receiver, body, Message.V1).taken == 1
    assert receiver.known.declared.among(["requests"]) == ("requests",)


_POINT = b"\x19" + struct.pack("<Q", _NOW * 10**6)


def _metric(points: bytes) -> bytes:
    return field(1, field(2, field(2, field(1, b"x") + field(5, points))))


_EMPTY = 1_000_001
BOMBS: dict[str, Callable[[], bytes]] = {
    "resources": lambda: b"\x0a\x00" * _EMPTY,
    "points": lambda: _metric(b"\x0a\x00" * _EMPTY),
    "attributes": lambda: _metric(field(1, _POINT + b"\x3a\x00" * _EMPTY)),
    "exemplars": lambda: _metric(field(1, _POINT + b"\x2a\x00" * _EMPTY)),
    "values in one attribute": lambda: _metric(
        field(1, _POINT + field(7, field(2, field(5, b"\x0a\x00" * _EMPTY))))
    ),
}


@pytest.mark.parametrize("what", BOMBS)
def test_an_otlp_request_is_counted_before_it_is_parsed(what: str) -> None:
    with pytest.raises(InvalidBatch, match="messages in one request"):
        parsed(BOMBS[what](), Otlp.PROTOBUF)


@pytest.mark.parametrize("inside", [b"{}", b"[]", b"1"])
def test_an_otlp_request_in_json_is_counted_as_well(inside: bytes) -> None:
    body = b'{"resourceMetrics":[],"x":[' + (inside + b",") * 3_000_001 + b"1]}"
    with pytest.raises(InvalidBatch, match="in one request"):
        parsed(body, Otlp.JSON)


def test_a_point_with_too_many_attributes_costs_itself_alone() -> None:
    many = b"".join(field(7, field(1, b"a%d" % i)) for i in range(1001))
    value = b"\x21" + struct.pack("<d", 1.5)
    points = field(1, _POINT + many) + field(1, _POINT + value)
    told = translated(parsed(_metric(points), Otlp.PROTOBUF), Totals(10), _MIB, _NOW)
    assert (told.samples, told.refused) == (1, 1)
    assert "more than 1000 attributes" in told.faults[0]


def test_faults_are_counted_and_the_first_are_named() -> None:
    told = translated(
        parsed(_metric(field(1, b"") * 10_000), Otlp.PROTOBUF), Totals(10), _MIB, _NOW
    )
    assert (told.refused, len(told.faults)) == (10_000, 20)


@pytest.mark.parametrize("text", ["1" + ":1" * 500, "[::1]" + ":9" * 400, "a" + ":1" * 500])
def test_a_machine_named_by_hundreds_of_ports_is_soon_understood(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    address = shared.machine._address

    def counted(host: str) -> str | None:
        nonlocal asked
        asked += 1
        return address(host)

    monkeypatch.setattr(shared.machine, "_address", counted)
    assert machine_for(text)
    assert asked < 20
