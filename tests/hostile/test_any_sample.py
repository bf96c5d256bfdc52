"""Whatever samples a door takes, every event that follows can be written, sent and read.

Series with any names and values go through the gateway's reader, the streams' form and the real
engine, with clocks that move on until the machines are silent. What comes out must pass its own
contract after a journey as JSON, and fit an AMQP frame.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pika.data import encode_table

from services.detector.engine import Engine
from services.detector.gateway.ingest import partition_of
from services.detector.gateway.remote_write import Message, Receiver
from services.detector.gateway.senders import Senders
from services.detector.settings import EngineSettings
from shared.contracts import AnomalyCleared, AnomalyDetected, MetricBatch
from shared.contracts import Message as Event
from shared.contracts.alerts import SeriesRef
from shared.messaging import Bus
from shared.samples import (
    SampleBatch,
    Sender,
    decode,
    decode_partly,
    encode,
    from_message,
    from_rows,
)
from tests.remote_write import Series, request_1, request_2

_T0 = 1_700_000_000_000
_MAX_KEY_BYTES, _FRAME_BYTES = 255, 131_072 - 4096

_odd = st.text(max_size=8) | st.sampled_from(
    ["*", "_", "%", "a" * 600, "é" * 300, "x\ny", "\x7f", "::1", "[::1]:9", "w.:9100", "-", "."]
)
_hosts = _odd | st.sampled_from(
    ["web1.example.com.:9100", "2001:db8::17", "h" * 253, "fe80::1%eth0", "build_:80", "a:1:2"]
)
_items = _odd | st.sampled_from(
    [
        "mem.memused.percent",
        "up",
        "x_total",
        "y_count",
        "node_load1",
        "host.alive",
        "temperature.°C",
    ]
)
_labels = st.dictionaries(_odd.filter(bool), _odd, max_size=4) | st.builds(
    lambda n, value: {f"l{k}": value for k in range(n)}, st.integers(30, 60), _odd
)
_EXPORTED = ["instance", "job", "pod", "namespace", "node"]
_values = st.floats() | st.sampled_from(
    [1.7976931348623157e308, -1.7e308, 3.39e38, 5e-324, 0.0, 99.0, 100.0, 2.0**64]
)


@st.composite
def _series(draw: st.DrawFn) -> tuple[dict[str, str], list[float]]:
    labels = draw(_labels) | {"__name__": draw(_items)}
    for name in draw(st.sets(st.sampled_from(["host", "instance"]), max_size=2)):
        labels[name] = draw(_hosts)
    for name in draw(st.sets(st.sampled_from(_EXPORTED), max_size=3)):
        labels[f"exported_{name}"] = draw(_hosts)
    if draw(st.booleans()):
        labels["job"] = draw(st.sampled_from(["node", "api"]))
    return labels, draw(st.lists(_values, min_size=1, max_size=6))


def _requests(series: list[tuple[dict[str, str], list[float]]]) -> list[list[Series]]:
    """A request for each step of time."""
    steps = max(len(values) for _, values in series)
    return [
        [
            (labels, [(_T0 + 10_000 * step, values[step])])
            for labels, values in series
            if step < len(values)
        ]
        for step in range(steps)
    ]


def _events(batches: list[SampleBatch], marks: tuple[Sender, ...]) -> list[Event]:
    """Return what two engines say of the batches, and of twenty minutes of silence after them."""
    engine = Engine(EngineSettings(alarm_confirm_s=0, stale_after_s=1e9))
    events: list[Event] = []
    for batch in batches:
        events += engine.process(decode(encode(batch), trusted=True))
    later = _T0 + 600_000
    for second in range(0, 1200, 30):
        heartbeat = from_rows((), clock_ms=later + 1000 * second)
        told = SampleBatch(**{**vars(heartbeat), "senders": marks})
        events += engine.process(decode(encode(told), trusted=True))
    return events


def _check(bus: Bus, event: Event) -> None:
    assert type(event).model_validate_json(event.model_dump_json()) == event
    outgoing = bus.prepare(event)
    assert len(outgoing.routing_key.encode()) <= _MAX_KEY_BYTES
    pieces: list[bytes] = []
    assert encode_table(pieces, outgoing.headers) < _FRAME_BYTES
    assert isinstance(event, AnomalyDetected | AnomalyCleared)
    assert np.isfinite(event.value)


_slowly = partial(
    settings, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40
)


@_slowly()
@given(series=st.lists(_series(), min_size=1, max_size=5), second=st.booleans())
def test_events_of_any_series_of_remote_write_can_be_sent_and_read(
    series: list[tuple[dict[str, str], list[float]]], second: bool
) -> None:
    bus = Bus("amqp://detector:unused@127.0.0.1:1/%2F", "detector")
    senders = Senders(lambda: _T0)
    receiver = Receiver("", lambda host: partition_of(host, 1), senders=senders)
    write = request_2 if second else request_1
    batches = []
    for request in _requests(series):
        data = np.frombuffer(write(*request), dtype=np.uint8)
        message = Message.V2 if second else Message.V1
        receiver.read(data, message, _T0 + 10**9, sender="10.0.0.5 \x00Prometheus/2.53.0")
        batches += [batch for _, batch in receiver.batches()]
    for batch in batches:
        _check_names(batch)
    events = _events(batches, senders.marks())
    machines = {host for batch in batches for host in batch.hosts} - {"unknown"}
    assert bool(events) or not machines
    for event in events:
        _check(bus, event)


def _check_names(batch: SampleBatch) -> None:
    """Every name that is kept is one that the other doors and all events take."""
    again, faults = decode_partly(encode(batch))
    finite = ~np.isinf(batch.value)
    assert faults == []
    assert (list(again.hosts), list(again.items)) == (list(batch.hosts), list(batch.items))
    assert list(again.labels) == list(batch.labels)
    assert finite.all()
    for host in batch.hosts:
        for item in batch.items:
            assert SeriesRef(host=host, item=item).host == host


@_slowly()
@given(
    host=_hosts,
    samples=st.lists(
        st.fixed_dictionaries(
            {
                "item": _items,
                "time_ms": st.just(_T0),
                "value": st.floats(allow_nan=False, allow_infinity=False),
                "labels": _labels,
            }
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_the_json_contract_takes_can_be_sent_and_read(
    host: str, samples: list[Mapping[str, object]]
) -> None:
    try:
        message = MetricBatch.model_validate({"host": host, "samples": samples})
    except ValueError:
        return
    bus = Bus("amqp://detector:unused@127.0.0.1:1/%2F", "detector")
    for event in _events([from_message(message)], ()):
        _check(bus, event)


def test_a_staleness_marker_stays_one_on_its_way() -> None:
    receiver = Receiver("", lambda _host: 0)
    stale = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
    series = ({"__name__": "up", "instance": "pod:80", "job": "pods"}, [(_T0, stale)])
    receiver.read(np.frombuffer(request_1(series), dtype=np.uint8), Message.V1, _T0)
    ((_, batch),) = receiver.batches()
    travelled = decode(encode(batch), trusted=True)
    assert travelled.value.view(np.int64).tolist() == [0x7FF0000000000002]
