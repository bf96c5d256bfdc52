"""Batches of samples as columns, and their Arrow IPC form: what travels in the sample streams.

Columns (one row a sample): ``host``, ``item``, ``labels`` (dictionary-encoded text), ``time_ms``
(int64, Unix milliseconds) and ``value`` (float64; NaN says "no value", as Prometheus' staleness
marker does). ``labels`` is canonical JSON with sorted names, or empty. The schema's metadata may
carry ``clock_ms``: the sender's time, which lets a partition notice silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shared.contracts.metrics import MAX_SAMPLES, MetricBatch, Sample
from shared.sample_names import MAX_LABELS, label_faults, labels_from, labels_text, name_faults

__all__ = [
    "CONTENT_TYPE",
    "MAX_BODY_BYTES",
    "MAX_LABELS",
    "MAX_TIME_MS",
    "InvalidBatch",
    "SampleBatch",
    "check",
    "concatenate",
    "decode",
    "encode",
    "from_message",
    "from_rows",
    "labels_from",
    "labels_text",
    "to_messages",
]

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Largest encoded batch that is looked at."""
MAX_TIME_MS = 253_402_300_799_999
CONTENT_TYPE = "application/vnd.apache.arrow.stream"
_CLOCK, _HASHES, _JUDGED = b"clock_ms", b"hashes", b"judged"
_TEXT_COLUMNS = ("host", "item", "labels")


class InvalidBatch(ValueError):
    """A batch is refused; ``faults`` names everything that is wrong with it."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


Hashes: TypeAlias = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]


class _Names(Sequence[str]):
    """Names that stay in Arrow's memory until somebody asks for one."""

    def __init__(self, array: pa.StringArray) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[str]:
        return iter(self._list())

    def _list(self) -> list[str]:
        return cast("list[str]", self._array.to_pylist())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._list()[index]
        return str(self._array[int(index)].as_py())


@dataclass(frozen=True)
class SampleBatch:
    """Samples as columns of one length; the ``*_code`` arrays index the lists of names."""

    hosts: Sequence[str]
    items: Sequence[str]
    labels: Sequence[str]
    host_code: NDArray[np.int32]
    item_code: NDArray[np.int32]
    label_code: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    clock_ms: int | None = field(default=None)
    """The sender's clock, Unix milliseconds; None when it does not say."""
    hashes: Hashes | None = field(default=None)
    """``shared.name_hashes`` of the three lists, where somebody has worked them out already."""
    judged: tuple[str, ...] = ()
    """Labels of people (``anomaly.judged`` as JSON), put in by the gateway only."""

    def __len__(self) -> int:
        return len(self.time_ms)

    def select(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> SampleBatch:
        """The samples at ``index``, with the same lists of names."""
        return SampleBatch(
            self.hosts,
            self.items,
            self.labels,
            self.host_code[index],
            self.item_code[index],
            self.label_code[index],
            self.time_ms[index],
            self.value[index],
            self.clock_ms,
            self.hashes,
        )


def from_rows(
    rows: Iterable[tuple[str, str, str, int, float]],
    clock_ms: int | None = None,
    judged: tuple[str, ...] = (),
) -> SampleBatch:
    """A batch from rows (host, item, labels text, time_ms, value); names are not checked."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    (hosts, host), (items, item), (labels, label) = map(_encode_names, columns[:3])
    times = np.asarray(columns[3], dtype=np.int64)
    values = np.asarray(columns[4], dtype=np.float64)
    return SampleBatch(
        hosts, items, labels, host, item, label, times, values, clock_ms, None, judged
    )


def concatenate(batches: Sequence[SampleBatch]) -> SampleBatch:
    """All samples of ``batches`` in order; its clock is the latest of theirs."""
    if len(batches) == 1:
        return batches[0]
    names: list[list[str]] = [[], [], []]
    codes: list[list[NDArray[np.int32]]] = [[], [], []]
    for batch in batches:
        columns = (
            (batch.hosts, batch.host_code),
            (batch.items, batch.item_code),
            (batch.labels, batch.label_code),
        )
        for k, (more, code) in enumerate(columns):
            codes[k].append(code + np.int32(len(names[k])))
            names[k].extend(more)
    clocks = [batch.clock_ms for batch in batches if batch.clock_ms is not None]
    joined = [_join(code, np.dtype(np.int32)) for code in codes]
    return SampleBatch(
        names[0],
        names[1],
        names[2],
        joined[0],
        joined[1],
        joined[2],
        _join([batch.time_ms for batch in batches], np.dtype(np.int64)),
        _join([batch.value for batch in batches], np.dtype(np.float64)),
        max(clocks, default=None),
        _join_hashes(batches),
    )


def _join_hashes(batches: Sequence[SampleBatch]) -> Hashes | None:
    known = [batch.hashes for batch in batches if batch.hashes is not None]
    if not known or len(known) < len(batches):
        return None
    hosts, items, labels = (np.concatenate(column) for column in zip(*known, strict=True))
    return hosts, items, labels


def _join(arrays: Sequence[NDArray[Any]], kind: np.dtype[Any]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=kind)


def _encode_names(column: Sequence[str]) -> tuple[list[str], NDArray[np.int32]]:
    index: dict[str, int] = {}
    codes = np.fromiter(
        (index.setdefault(name, len(index)) for name in column), dtype=np.int32, count=len(column)
    )
    return list(index), codes


def from_message(message: MetricBatch) -> SampleBatch:
    """The columns of a JSON batch (already validated by its contract)."""
    return from_rows(
        (message.host, sample.item, labels_text(sample.labels), sample.time_ms, sample.value)
        for sample in message.samples
    )


def to_messages(batch: SampleBatch) -> list[MetricBatch]:
    """The JSON form: one message a host. Samples without a value (NaN) are left out."""
    samples: dict[str, list[Sample]] = {}
    rows = zip(
        batch.host_code, batch.item_code, batch.label_code, batch.time_ms, batch.value, strict=True
    )
    for host, item, label, time_ms, value in rows:
        if not math.isnan(value):
            samples.setdefault(batch.hosts[host], []).append(
                Sample(
                    item=batch.items[item],
                    time_ms=int(time_ms),
                    value=float(value),
                    labels=labels_from(batch.labels[label]),
                )
            )
    return [
        MetricBatch(host=host, samples=tuple(found[start : start + MAX_SAMPLES]))
        for host, found in samples.items()
        for start in range(0, len(found), MAX_SAMPLES)
    ]


def encode(batch: SampleBatch) -> bytes:
    """The batch as one Arrow IPC stream with a single record batch."""
    names = (batch.hosts, batch.items, batch.labels)
    codes = (batch.host_code, batch.item_code, batch.label_code)
    arrays: list[pa.Array[Any]] = [
        pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), pa.array(name, pa.string()))
        for name, code in zip(names, codes, strict=True)
    ]
    arrays += [pa.array(batch.time_ms, pa.int64()), pa.array(batch.value, pa.float64())]
    metadata: dict[bytes, bytes] = {}
    if batch.clock_ms is not None:
        metadata[_CLOCK] = str(batch.clock_ms).encode()
    if batch.hashes is not None:
        metadata[_HASHES] = b"".join(hashes.tobytes() for hashes in batch.hashes)
    if batch.judged:
        metadata[_JUDGED] = json.dumps(batch.judged).encode()
    record = pa.RecordBatch.from_arrays(arrays, names=[*_TEXT_COLUMNS, "time_ms", "value"])
    record = record.replace_schema_metadata(metadata or None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return sink.getvalue().to_pybytes()


def decode(body: bytes, *, trusted: bool = False) -> SampleBatch:
    """Columns from an Arrow IPC stream.

    ``trusted`` skips the checks of names and values, and believes the hashes of names, for
    batches that this platform wrote into its own streams; the structure is always checked.
    Raises InvalidBatch naming every fault.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InvalidBatch([f"the body has {len(body)} bytes, more than {MAX_BODY_BYTES}"])
    try:
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise InvalidBatch([f"not an Arrow IPC stream: {error}"]) from error
    batch = _columns_of(table, trusted=trusted)
    if not trusted:
        check(batch)
        return batch
    judged = (table.schema.metadata or {}).get(_JUDGED)
    return replace(batch, judged=tuple(json.loads(judged))) if judged else batch


def _columns_of(table: pa.Table, *, trusted: bool) -> SampleBatch:
    faults = _schema_faults(table)
    if faults:
        raise InvalidBatch(faults)
    (hosts, host), (items, item), (labels, label) = (
        _dictionary(table.column(column)) for column in _TEXT_COLUMNS
    )
    times = table.column("time_ms").to_numpy().astype(np.int64)
    values = table.column("value").to_numpy().astype(np.float64)
    clock = (table.schema.metadata or {}).get(_CLOCK)
    clock_ms = int(clock) if clock is not None and clock.isdigit() else None
    hashes = _hashes_of(table, (len(hosts), len(items), len(labels))) if trusted else None
    if hashes is None:
        hosts, items, labels = list(hosts), list(items), list(labels)
    return SampleBatch(hosts, items, labels, host, item, label, times, values, clock_ms, hashes)


def _hashes_of(table: pa.Table, sizes: tuple[int, int, int]) -> Hashes | None:
    raw = (table.schema.metadata or {}).get(_HASHES)
    if raw is None or len(raw) != 8 * sum(sizes):
        return None
    found = np.frombuffer(raw, dtype=np.uint64)
    ends = np.cumsum(sizes)
    return found[: ends[0]], found[ends[0] : ends[1]], found[ends[1] :]


def _dictionary(column: pa.ChunkedArray[Any]) -> tuple[Sequence[str], NDArray[np.int32]]:
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    array: Any = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        # Without a single row there is no chunk to combine.
        return [], np.empty(0, dtype=np.int32)
    codes = array.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return _Names(array.dictionary), codes


def _schema_faults(table: pa.Table) -> list[str]:
    faults = []
    for column in (*_TEXT_COLUMNS, "time_ms", "value"):
        if table.schema.get_all_field_indices(column) == []:
            faults.append(f"column {column!r} is missing")
            continue
        if len(table.schema.get_all_field_indices(column)) > 1:
            faults.append(f"column {column!r} is there more than once")
            continue
        kind = table.schema.field(column).type
        if not _fits(column, kind):
            faults.append(f"column {column!r} is {kind}, not {_expected(column)}")
        elif table.column(column).null_count:
            faults.append(f"column {column!r} has nulls")
    if table.num_rows > MAX_SAMPLES:
        faults.append(f"{table.num_rows} samples, more than {MAX_SAMPLES} in one batch")
    return faults


def _fits(column: str, kind: pa.DataType) -> bool:
    if column == "time_ms":
        return bool(pa.types.is_int64(kind))
    if column == "value":
        return bool(pa.types.is_float64(kind))
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(text) or pa.types.is_large_string(text))


def _expected(column: str) -> str:
    return {"time_ms": "int64", "value": "double"}.get(column, "(dictionary of) string")


def check(batch: SampleBatch) -> None:
    """Raise InvalidBatch naming every fault of names, times and values."""
    faults = [
        *name_faults("host", batch.hosts),
        *name_faults("item", batch.items),
        *label_faults(batch.labels),
    ]
    bad_times = np.flatnonzero((batch.time_ms < 0) | (batch.time_ms > MAX_TIME_MS))
    if len(bad_times):
        faults.append(
            f"time_ms of sample {bad_times[0]} ({batch.time_ms[bad_times[0]]}) is not a Unix time "
            f"in milliseconds ({len(bad_times)} such samples)"
        )
    infinite = np.flatnonzero(np.isinf(batch.value))
    if len(infinite):
        faults.append(f"value of sample {infinite[0]} is infinite ({len(infinite)} such samples)")
    if faults:
        raise InvalidBatch(faults)
