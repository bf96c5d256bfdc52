"""What exporters declare of their series reaches whoever makes rates of counters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.gateway.remote_write import Message, Receiver
from shared.derivation import Deriver
from shared.samples import InvalidBatch, decode, encode
from tests.remote_write import field, number, pairs, request_1, request_2, sample

_NOW = 1_700_000_000_000
_COUNTER, _GAUGE, _HISTOGRAM, _SUMMARY = 1, 2, 3, 5


def _family(name: str, kind: int) -> bytes:
    """A piece of metadata of 1.0."""
    return field(3, b"\x08" + number(kind) + field(2, name.encode()) + field(4, b"help"))


def _typed(kind: int) -> bytes:
    """The metadata of a series of 2.0."""
    return field(5, b"\x08" + number(kind) + b"\x18\x01")


def _counters(receiver: Receiver, raw: bytes, message: Message) -> tuple[str, ...]:
    receiver.read(np.frombuffer(raw, dtype=np.uint8), message, _NOW)
    (found,) = [batch for _, batch in receiver.batches()]
    return found.counters


def _receiver() -> Receiver:
    return Receiver("", lambda _host: 0)


@pytest.mark.parametrize(
    ("family", "kind", "item", "counter"),
    [
        ("node_cpu", _COUNTER, "node_cpu", True),
        ("requests", _COUNTER, "requests_total", True),
        ("latency", _HISTOGRAM, "latency_bucket", True),
        ("latency", _SUMMARY, "latency_sum", True),
        ("latency", _SUMMARY, "latency", False),
        ("threads", _GAUGE, "threads", False),
        ("other", _COUNTER, "node_cpu", False),
    ],
)
def test_metadata_of_both_messages_says_which_series_are_counters(
    family: str, kind: int, item: str, counter: bool
) -> None:
    series = ({"__name__": item, "host": "h"}, [(_NOW, 1.0)])
    first = _receiver()
    first.read(np.frombuffer(_family(family, kind), dtype=np.uint8), Message.V1, _NOW)
    assert (item in _counters(first, request_1(series), Message.V1)) is counter
    if family != "other":
        second = request_2(series, more=_typed(kind))
        assert (item in _counters(_receiver(), second, Message.V2)) is counter


def test_a_declared_counter_is_told_as_its_rate_even_if_it_was_known_before() -> None:
    receiver, deriver = _receiver(), Deriver()
    rates = []
    for turn, (value, more) in enumerate(
        [(10.0, b""), (20.0, b""), (30.0, _family("node_cpu", _COUNTER)), (50.0, b"")]
    ):
        series = ({"__name__": "node_cpu", "host": "h"}, [(_NOW + 10_000 * turn, value)])
        data = np.frombuffer(request_1(series) + more, dtype=np.uint8)
        receiver.read(data, Message.V1, _NOW + 10_000 * turn)
        ((_, batch),) = receiver.batches()
        rates.append(deriver.apply(decode(encode(batch), trusted=True)).value.tolist())
    # The first sample after the declaration has none before it; from then on there are rates.
    assert rates == [[10.0], [20.0], [], [2.0]]


def test_a_declaration_outlives_a_snapshot() -> None:
    deriver = Deriver()
    receiver = _receiver()
    more = _family("node_cpu", _COUNTER)
    for turn, value in enumerate((10.0, 30.0)):
        series = ({"__name__": "node_cpu", "host": "h"}, [(_NOW + 10_000 * turn, value)])
        receiver.read(
            np.frombuffer(request_1(series) + more, dtype=np.uint8), Message.V1, _NOW + 10_000
        )
        ((_, batch),) = receiver.batches()
        deriver = Deriver.restored(deriver.snapshot())
        points = deriver.apply(batch if turn == 0 else replace(batch, counters=()))
    assert points.value.tolist() == [2.0]


@settings(deadline=None)
@given(metadata=st.binary(max_size=60), second=st.booleans())
def test_damaged_metadata_is_passed_over_or_refused(metadata: bytes, second: bool) -> None:
    labels = {"__name__": "x", "host": "h"}
    if second:
        raw = request_2((labels, [(_NOW, 1.0)]), more=field(5, metadata))
    else:
        raw = request_1((labels, [(_NOW, 1.0)])) + field(3, metadata)
    try:
        received = _receiver().read(
            np.frombuffer(raw, dtype=np.uint8), Message.V2 if second else Message.V1, _NOW
        )
    except InvalidBatch as error:
        assert error.faults  # noqa: PT017 - being read is right as well
    else:
        assert received.taken == 1


def test_samples_and_their_types_stay_together() -> None:
    """Series with several samples, or none, before the one that is declared."""
    symbols = ["", "__name__", "a", "b", "c", "host", "h"]
    place = {symbol: number(at) for at, symbol in enumerate(symbols)}

    def series(name: str, samples: int, kind: int) -> bytes:
        labels = [text for pair in pairs({"__name__": name, "host": "h"}) for text in pair]
        body = field(1, b"".join(place[text] for text in labels))
        return field(5, body + sample(_NOW, 1.0) * samples + _typed(kind))

    raw = b"".join(field(4, symbol.encode()) for symbol in symbols)
    raw += series("a", 2, _GAUGE) + series("b", 0, _COUNTER) + series("c", 1, _COUNTER)
    assert _counters(_receiver(), raw, Message.V2) == ("c",)
