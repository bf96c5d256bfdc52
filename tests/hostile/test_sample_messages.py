"""Messages of samples that mean harm, or that are only partly good: each costs itself alone."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detector.gateway import amqp
from services.detector.gateway.amqp import SampleInlet
from services.detector.gateway.ingest import Ingest
from shared.messaging import Delivery
from shared.messaging.bus import ARROW
from shared.samples import (
    InvalidBatch,
    SampleBatch,
    decode,
    decode_partly,
    encode,
    from_rows,
    labels_from,
)
from tests.recording_bus import RecordingBus

_NOW = 1_700_000_000_000
_COLUMNS = ["host", "item", "labels", "time_ms", "value"]
_MIB = 2**20


def _stream(
    columns: Sequence[Any],
    names: Sequence[str] = _COLUMNS,
    metadata: dict[bytes, bytes] | None = None,
    compression: str | None = None,
) -> bytes:
    record = pa.RecordBatch.from_arrays(list(columns), names=list(names))
    record = record.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, record.schema, options=options) as writer:
        writer.write_batch(record)
    return bytes(sink.getvalue().to_pybytes())


def _good() -> list[Any]:
    row = [pa.array([text]) for text in ("h1", "cpu.idle", "")]
    return [*row, pa.array([1], pa.int64()), pa.array([1.0])]


def _dictionary(values: Sequence[str | None]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(values, pa.string()))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("encoded", [False, True])
def test_compressed_buffers_are_refused_before_they_are_unpacked(
    compression: str, encoded: bool
) -> None:
    bomb = "\0" * (64 * _MIB)
    columns = _good()
    columns[1] = _dictionary([bomb]) if encoded else pa.array([bomb])
    body = _stream(columns, compression=compression)
    assert len(body) < _MIB
    del bomb, columns
    before = pa.total_allocated_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidBatch, match="compressed"):
        decode(body)
    assert pa.total_allocated_bytes() - before < _MIB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 16 * 1024


def test_columns_nobody_knows_are_refused_by_the_schema_alone() -> None:
    body = _stream([*_good(), pa.array([{"a": 1}])], [*_COLUMNS, "x"])
    with pytest.raises(InvalidBatch, match="column 'x' is unknown"):
        decode(body)


@pytest.mark.parametrize("digits", [16, 30, 5000])
def test_a_clock_of_many_digits_is_no_clock(digits: int) -> None:
    assert decode(_stream(_good(), metadata={b"clock_ms": b"9" * digits})).clock_ms is None


def test_what_only_the_gateway_may_say_is_not_believed_of_a_stranger() -> None:
    said = {
        b"judged": b"[1]",
        b"counters": b'["a"]',
        b"senders": b"junk",
        b"brought": b"junk",
        b"started": b"junk",
    }
    batch = decode(_stream(_good(), metadata=said))
    assert (batch.judged, batch.counters, batch.senders, batch.brought, batch.started) == ((),) * 5


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_null_inside_a_dictionary_is_named(column: int) -> None:
    columns = _good()
    columns[column] = _dictionary([None])
    with pytest.raises(InvalidBatch, match="None"):
        decode(_stream(columns))


def test_many_record_batches_are_bounded() -> None:
    record = pa.RecordBatch.from_arrays([a.slice(0, 0) for a in _good()], names=_COLUMNS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        for _ in range(1001):
            writer.write_batch(record)
    with pytest.raises(InvalidBatch, match="record batches"):
        decode(sink.getvalue().to_pybytes())


def test_bad_rows_of_an_arrow_batch_cost_no_good_one() -> None:
    bad = [
        ("bad host", "cpu.idle", "", _NOW, 1.0),
        ("h1", "\n", "", _NOW, 1.0),
        ("h1", "cpu.idle", "[", _NOW, 1.0),
        ("h1", "cpu.idle", "", -1, 1.0),
        ("h1", "cpu.idle", "", _NOW, float("inf")),
    ]
    good = ("WEB1.example.com.:9100", "a°", '{"b": "1", "a": "x\\ny"}', _NOW, 2.0)
    batch, faults = decode_partly(encode(from_rows([*bad, good])))
    assert len(faults) == len(bad)
    assert [batch.hosts[code] for code in batch.host_code] == ["web1.example.com"]
    assert [labels_from(batch.labels[c]) for c in batch.label_code] == [{"a": "x y", "b": "1"}]


class _Streams:
    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float]] = []

    def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
        for _, body, _ in batches:
            batch = decode(body, trusted=True)
            self.rows += zip(_named(batch), _items(batch), batch.value.tolist(), strict=True)


def _named(batch: SampleBatch) -> list[str]:
    return [batch.hosts[code] for code in batch.host_code]


def _items(batch: SampleBatch) -> list[str]:
    return [batch.items[code] for code in batch.item_code]


def _reasons(bus: RecordingBus) -> list[str]:
    return [letter.headers["x-reason"] for letter in bus.dead]


@pytest.fixture
def streams() -> _Streams:
    return _Streams()


@pytest.fixture
def bus() -> RecordingBus:
    return RecordingBus()


@pytest.fixture
def inlet(streams: _Streams, bus: RecordingBus) -> SampleInlet:
    return SampleInlet(bus, Ingest(streams, 4, lambda: _NOW), lambda: datetime.now(UTC))


def _delivery(body: bytes, content_type: str = "application/json") -> Delivery:
    return Delivery("detector.samples", 1, "metrics", "samples.h1", {}, "id1", content_type, body)


def _json(*samples: object, host: object = "h1") -> bytes:
    return json.dumps({"host": host, "samples": samples}).encode()


def _sample(**fields: object) -> dict[str, object]:
    return {"item": "a", "time_ms": _NOW, "value": 1.0} | fields


def test_bad_samples_of_a_json_batch_are_named_and_the_good_ones_kept(
    inlet: SampleInlet, streams: _Streams, bus: RecordingBus
) -> None:
    body = _json(
        _sample(),
        _sample(value="x"),
        _sample(time_ms=-1),
        _sample(labels=[]),
        7,
        _sample(item="b\n", labels={f"l{n}": "x" * 600 for n in range(50)}),
        _sample(time_ms=_NOW + 10**6),
        _sample(labels=None, value=3.0),
    )
    inlet.handle([_delivery(body), _delivery(_json(_sample(value=9.0)))])
    assert streams.rows == [("h1", "a", 1.0), ("h1", "b ", 1.0), ("h1", "a", 3.0), ("h1", "a", 9.0)]
    (reason,) = _reasons(bus)
    assert reason.startswith("3 samples were stored, the others not: ")
    for part in ("samples.1.value", "samples.2.time_ms", "samples.3.labels", "samples.4", "future"):
        assert part in reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        _json(host="%"),
        _json(_sample(value=1e999)),
        b'{"host":"h1","samples":{"a":1}}',
        b'{"host":"h1","samples":[{"item":"a","time_ms":1,"value":1,"labels":{"a":"\\ud800"}}]}',
        b'{"host":"\xff","samples":[]}',
    ],
)
def test_a_json_batch_without_anything_good_is_refused(
    inlet: SampleInlet, streams: _Streams, bus: RecordingBus, body: bytes
) -> None:
    inlet.handle([_delivery(body), _delivery(_json(_sample()))])
    assert streams.rows == [("h1", "a", 1.0)]
    assert len(_reasons(bus)) == 1


@pytest.mark.parametrize("kind", ["JSON", "Arrow"])
def test_times_in_seconds_are_named_and_cost_no_good_sample(
    inlet: SampleInlet, streams: _Streams, bus: RecordingBus, kind: str
) -> None:
    times = (_NOW // 1000, 10**8, 10**11 - 1, 10**11, _NOW, _NOW + 10**6)
    if kind == "JSON":
        sent = _delivery(_json(*(_sample(time_ms=time, value=time) for time in times)))
    else:
        rows = [("h1", "a", "", time, float(time)) for time in times]
        sent = _delivery(encode(from_rows(rows)), ARROW)
    inlet.handle([sent])
    assert streams.rows == [("h1", "a", 1e11), ("h1", "a", float(_NOW))]
    (reason,) = _reasons(bus)
    said = f"3 samples, the first of h1: {_NOW // 1000} is not a Unix time in ms"
    assert f"{said}; it looks like seconds, or a clock in 1970 to 1973" in reason
    assert "1 samples lie more than 60 s in the future" in reason


def test_what_nobody_foresaw_in_an_arrow_batch_is_dead_lettered(
    inlet: SampleInlet, streams: _Streams, bus: RecordingBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(body: bytes) -> tuple[SampleBatch, list[str]]:
        raise MemoryError(body[:2])

    monkeypatch.setattr(amqp, "decode_partly", fails)
    inlet.handle([_delivery(b"bad", ARROW), _delivery(_json(_sample()))])
    assert streams.rows == [("h1", "a", 1.0)]
    assert "MemoryError" in _reasons(bus)[0]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["host", "samples", "item", "time_ms", "value", "labels"]), inner
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_settled(value: object) -> None:
    streams, bus = _Streams(), RecordingBus()
    inlet = SampleInlet(bus, Ingest(streams, 4, lambda: _NOW), lambda: datetime.now(UTC))
    inlet.handle([_delivery(json.dumps(value).encode())])
    assert np.isfinite([row[2] for row in streams.rows]).all()
    assert len(_reasons(bus)) <= 1
