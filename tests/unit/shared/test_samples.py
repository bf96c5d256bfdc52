"""Batches as columns: what goes in comes out, and what is bad is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import MetricBatch
from shared.contracts.metrics import MAX_SAMPLES, Sample
from shared.name_hashes import NameHashes
from shared.samples import (
    InvalidBatch,
    SampleBatch,
    concatenate,
    decode,
    encode,
    from_message,
    from_rows,
    labels_from,
    labels_text,
    to_messages,
)
from shared.series import SeriesIndex

Row = tuple[str, str, str, int, float]
_ROW: Row = ("h1", "cpu.idle", "", 1_700_000_000_000, 42.0)


def _rows(batch: SampleBatch) -> list[Row]:
    return [
        (batch.hosts[h], batch.items[i], batch.labels[t], int(time_ms), float(value))
        for h, i, t, time_ms, value in zip(
            batch.host_code,
            batch.item_code,
            batch.label_code,
            batch.time_ms,
            batch.value,
            strict=True,
        )
    ]


_names = st.sampled_from(["h1", "h2", "web-3.example"])
_labels = st.dictionaries(st.sampled_from("abc"), st.text('xyz,="é', min_size=1, max_size=4)).map(
    labels_text
)
_row = st.tuples(
    _names,
    st.sampled_from(["cpu.idle", "node_load1"]),
    _labels,
    st.integers(0, 2**42),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(rows=st.lists(_row, max_size=30))
def test_encoding_and_decoding_keeps_every_sample(rows: list[Row]) -> None:
    assert _rows(decode(encode(from_rows(rows)))) == rows


@given(rows=st.lists(_row, min_size=1, max_size=30))
def test_the_json_contract_and_the_columns_hold_the_same(rows: list[Row]) -> None:
    back = concatenate([from_message(message) for message in to_messages(from_rows(rows))])
    assert sorted(_rows(back)) == sorted(rows)


def test_the_clock_travels_with_the_batch() -> None:
    assert decode(encode(from_rows([_ROW], clock_ms=17))).clock_ms == 17
    assert decode(encode(from_rows([_ROW]))).clock_ms is None


def test_a_message_becomes_columns() -> None:
    sample = Sample(item="df.bytes.used.percent", time_ms=5, value=1.5, labels={"mount": "/"})
    batch = from_message(MetricBatch(host="h1", samples=(sample,)))
    assert _rows(batch) == [("h1", "df.bytes.used.percent", '{"mount":"/"}', 5, 1.5)]
    assert labels_from(batch.labels[0]) == {"mount": "/"}


def test_every_fault_of_a_batch_is_named() -> None:
    bad = from_rows(
        [
            ("bad host", "cpu.idle", "", -1, 1.0),
            ("h1", "\n", '{"b":1}', 5, float("inf")),
            ("h1", "cpu.idle", "no json", 5, 1.0),
        ]
    )
    with pytest.raises(InvalidBatch) as caught:
        decode(encode(bad))
    text = str(caught.value)
    for part in ("bad host", "metric", "labels 'no json'", "b", "-1", "infinite"):
        assert part in text
    assert len(caught.value.faults) == 6


def test_missing_and_wrong_columns_are_named_together() -> None:
    table = pa.table({"host": ["h"], "item": [1], "time_ms": [1.5], "labels": [""]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InvalidBatch) as caught:
        decode(sink.getvalue().to_pybytes())
    assert caught.value.faults == (
        "column 'item' is int64, not (dictionary of) string",
        "column 'time_ms' is double, not int64",
        "column 'value' is missing",
    )


def test_plain_text_columns_are_taken_like_encoded_ones() -> None:
    table = pa.table(
        {
            "host": ["h", "h"],
            "item": ["a", "b"],
            "labels": ["", ""],
            "time_ms": [1, 2],
            "value": [1.0, float("nan")],
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    batch = decode(sink.getvalue().to_pybytes())
    assert [row[:4] for row in _rows(batch)] == [("h", "a", "", 1), ("h", "b", "", 2)]


def test_too_many_samples_are_refused() -> None:
    with pytest.raises(InvalidBatch, match="more than"):
        decode(encode(from_rows([_ROW] * (MAX_SAMPLES + 1))))


@given(body=st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(body: bytes) -> None:
    with pytest.raises(InvalidBatch):
        decode(body)


_WHOLE = encode(from_rows([_ROW, ("h2", "x", '{"a":"1"}', 7, 8.0)]))


@given(at=st.integers(0, len(_WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_batch_is_read_or_refused(at: int, byte: int, cut: bool) -> None:
    body = _WHOLE[:at] if cut else _WHOLE[:at] + bytes([byte]) + _WHOLE[at + 1 :]
    try:
        batch = decode(body)
    except InvalidBatch as error:
        assert error.faults  # noqa: PT017 - being read is right as well
    else:
        assert len(_rows(batch)) <= MAX_SAMPLES


def test_series_keep_their_rows_in_order_of_first_sight() -> None:
    index = SeriesIndex()
    rows = [("a", "x", "", 1, 0.0), ("b", "x", "", 1, 0.0), ("a", "x", "", 2, 0.0)]
    assert index.resolve(from_rows(rows)).tolist() == [0, 1, 0]
    assert index.resolve(from_rows([("x", "a", "", 1, 0.0), *rows])).tolist() == [2, 0, 1, 0]
    restored = SeriesIndex.restored(index.snapshot())
    assert restored.names == index.names
    assert restored.resolve(from_rows(rows)).tolist() == [0, 1, 0]


def test_names_in_other_places_are_other_series() -> None:
    index = SeriesIndex()
    rng = np.random.default_rng(0)
    rows = [(f"h{i % 7}", f"i{i % 11}", labels_text({"n": str(i)}), 1, 0.0) for i in range(2000)]
    order = rng.permutation(2000)
    first = index.resolve(from_rows(rows))
    assert len(set(first.tolist())) == 2000
    again = index.resolve(from_rows([rows[i] for i in order]))
    np.testing.assert_array_equal(again, first[order])


def _hashed(rows: list[tuple[str, str, str, int, float]]) -> SampleBatch:
    batch, hashes = from_rows(rows), NameHashes()
    names = (batch.hosts, batch.items, batch.labels)
    host, item, labels = (hashes.of(column) for column in names)
    return replace(batch, hashes=(host, item, labels))


_ROWS = [("a", "x", "", 1, 0.0), ("b", "y", '{"m":"1"}', 2, 1.0)]


def test_hashes_of_names_travel_with_a_batch_and_mean_the_same_rows() -> None:
    batch = _hashed(_ROWS)
    read = decode(encode(batch), trusted=True)
    assert read.hashes is not None
    for one, other in zip(read.hashes, batch.hashes or (), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (list(read.hosts), read.items[1], read.labels[-1:]) == (["a", "b"], "y", ['{"m":"1"}'])
    index = SeriesIndex()
    assert index.resolve(read).tolist() == [0, 1]
    assert index.resolve(from_rows(_ROWS)).tolist() == [0, 1]
    joined = concatenate([read, batch.select(np.array([1]))])
    assert index.resolve(joined).tolist() == [0, 1, 1]
    assert concatenate([read, from_rows(_ROWS)]).hashes is None


def test_hashes_that_a_stranger_sends_are_not_believed() -> None:
    assert decode(encode(_hashed(_ROWS))).hashes is None


def test_more_series_than_allowed_have_no_row() -> None:
    index = SeriesIndex(limit=3)
    rows = [(f"h{n}", "x", "", 1, 0.0) for n in range(5)]
    assert index.resolve(from_rows(rows)).tolist() == [0, 1, 2, -1, -1]
    assert index.resolve(from_rows(rows[::-1])).tolist() == [-1, -1, 2, 1, 0]


def test_a_message_of_ones_own_streams_has_one_record_batch_and_no_nulls() -> None:
    batch = from_rows([("h", "x", "", 1_700_000_000_000, 1.0)])
    record = pa.ipc.open_stream(encode(batch)).read_next_batch()

    def written(*records: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, record.schema) as writer:
            for each in records:
                writer.write_batch(each)
        return sink.getvalue().to_pybytes()

    empty = pa.RecordBatch.from_arrays(
        [pa.nulls(1, field.type) for field in record.schema], schema=record.schema
    )
    assert decode(written(record), trusted=True).hosts[0] == "h"
    for body, fault in (
        (written(), "no record batch"),
        (written(record, record), "more than one record batch"),
        (written(empty), "has nulls"),
        (written(record)[:200], "not an Arrow IPC stream"),
    ):
        with pytest.raises(InvalidBatch, match=fault):
            decode(body, trusted=True)
