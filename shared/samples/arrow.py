"""Batches of samples as Arrow IPC streams, in the sample streams and over AMQP.

Columns (one row a sample): ``host``, ``item``, ``labels`` (dictionary-encoded text), ``time_ms``
(int64, Unix milliseconds) and ``value`` (float64), and no others. The schema's metadata may carry
``clock_ms``: the sender's time, which lets a partition notice silence; what else it carries is
the gateway's, and believed only in the platform's own streams.

A message is looked at before it is unpacked: 64 KiB of compressed buffers could take gigabytes.

Columns are made of and from buffers. Arrow's own conversions (``pa.array``, ``to_numpy``) import
pandas where it is installed, which costs each process 32 MB and a tenth of a second.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shared.contracts.metrics import MAX_SAMPLES
from shared.samples.batch import Hashes, InvalidBatch, SampleBatch, Sender
from shared.samples.checks import accepted, check

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
MAX_BODY_BYTES = 16 * 1024 * 1024
"""The largest encoded batch that is decoded."""

_MAX_RECORD_BATCHES = 1000
_CLOCK, _HASHES, _JUDGED = b"clock_ms", b"hashes", b"judged"
_COUNTERS, _SENDERS, _BROUGHT = b"counters", b"senders", b"brought"
_STARTED = b"started"
_CLOCK_DIGITS = 15
_TEXT_COLUMNS = ("host", "item", "labels")
_COLUMNS = (*_TEXT_COLUMNS, "time_ms", "value")
_HEADER_SLOT, _DICTIONARY_DATA_SLOT, _COMPRESSION_SLOT = 2, 1, 3
"""Fields of the flatbuffer tables Message, DictionaryBatch, RecordBatch (Arrow's Message.fbs)."""


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


def encode(batch: SampleBatch) -> bytes:
    """The batch as one Arrow IPC stream with a single record batch."""
    names = (batch.hosts, batch.items, batch.labels)
    codes = (batch.host_code, batch.item_code, batch.label_code)
    arrays: list[pa.Array[Any]] = [
        pa.DictionaryArray.from_arrays(_numbers(code, pa.int32()), _texts(name))
        for name, code in zip(names, codes, strict=True)
    ]
    arrays += [_numbers(batch.time_ms, pa.int64()), _numbers(batch.value, pa.float64())]
    record = pa.RecordBatch.from_arrays(arrays, names=list(_COLUMNS))
    record = record.replace_schema_metadata(_metadata(batch) or None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    return sink.getvalue().to_pybytes()


def _numbers(values: NDArray[Any], kind: pa.DataType) -> pa.Array[Any]:
    own = np.ascontiguousarray(values, kind.to_pandas_dtype())
    return pa.Array.from_buffers(kind, len(own), [None, pa.py_buffer(own.data)])


def _texts(names: Sequence[str]) -> pa.Array[Any]:
    texts = list(names)
    joined = "".join(texts).encode()
    lengths = [len(text) for text in texts]
    if sum(lengths) != len(joined):  # not all characters are ASCII
        lengths = [len(text.encode()) for text in texts]
    ends = np.zeros(len(texts) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends.data), pa.py_buffer(joined))


def _metadata(batch: SampleBatch) -> dict[bytes, bytes]:
    metadata: dict[bytes, bytes] = {}
    if batch.clock_ms is not None:
        metadata[_CLOCK] = str(batch.clock_ms).encode()
    if batch.hashes is not None:
        metadata[_HASHES] = b"".join(hashes.tobytes() for hashes in batch.hashes)
    lists: Mapping[bytes, Sequence[object]] = {
        _JUDGED: batch.judged,
        _COUNTERS: batch.counters,
        _SENDERS: [[s.name, s.heard_ms, s.machines] for s in batch.senders],
        _BROUGHT: batch.brought,
        _STARTED: batch.started,
    }
    return metadata | {key: json.dumps(list_).encode() for key, list_ in lists.items() if list_}


def decode(body: bytes, *, trusted: bool = False) -> SampleBatch:
    """Columns from an Arrow IPC stream.

    ``trusted`` skips the checks of names and values, and believes the metadata, for batches that
    this platform wrote into its own streams; the structure is always checked. Raises InvalidBatch
    naming every fault.
    """
    if not trusted:
        return check(_columns_of(_table(body)))
    record = _own_record(body)
    batch = _columns_of(record)
    metadata = record.schema.metadata or {}
    return replace(
        batch,
        hashes=_hashes_of(metadata, (len(batch.hosts), len(batch.items), len(batch.labels))),
        judged=tuple(_list(metadata, _JUDGED)),
        counters=tuple(_list(metadata, _COUNTERS)),
        senders=tuple(Sender(*sender) for sender in _list(metadata, _SENDERS)),
        brought=tuple((host, sender) for host, sender in _list(metadata, _BROUGHT)),
        started=tuple((host, int(ms)) for host, ms in _list(metadata, _STARTED)),
    )


def decode_partly(body: bytes) -> tuple[SampleBatch, list[str]]:
    """The good rows of a stranger's batch, and what is wrong with the others.

    Raises InvalidBatch for what cannot be read as a whole.
    """
    return accepted(_columns_of(_table(body)))


def _table(body: bytes) -> pa.Table:
    if len(body) > MAX_BODY_BYTES:
        raise InvalidBatch([f"the body has {len(body)} bytes, more than {MAX_BODY_BYTES}"])
    try:
        _refuse_compression(body)
        with pa.ipc.open_stream(body) as reader:
            _check_schema(reader.schema)
            table = pa.Table.from_batches(_record_batches(reader), reader.schema)
            table.validate(full=True)
    except InvalidBatch:
        raise
    except (pa.ArrowException, OSError, ValueError, EOFError, struct.error) as error:
        raise InvalidBatch([f"not an Arrow IPC stream: {error}"]) from error
    _refuse_nulls(table)
    return table


def _own_record(body: bytes) -> pa.RecordBatch:
    """The one record batch of a message that ``encode`` made, of which nothing is compressed.

    What is in it is checked as a stranger's is; it is not made a table of, and not read twice, for
    a stream has some thousand messages a second.
    """
    try:
        with pa.ipc.open_stream(body) as reader:
            _check_schema(reader.schema)
            record = reader.read_next_batch()
            record.validate(full=True)
            more = next(iter(reader), None)
    except InvalidBatch:
        raise
    except StopIteration:
        raise InvalidBatch(["it has no record batch"]) from None
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise InvalidBatch([f"not an Arrow IPC stream: {error}"]) from error
    if more is not None:
        raise InvalidBatch(["it has more than one record batch"])
    _refuse_nulls(record)
    return record


def _refuse_nulls(data: pa.Table | pa.RecordBatch) -> None:
    empty = [name for name in _COLUMNS if data.column(name).null_count]
    if empty:
        raise InvalidBatch([f"column {name!r} has nulls" for name in empty])


def _record_batches(reader: pa.RecordBatchStreamReader) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        batches.append(batch)
        rows += len(batch)
        if rows > MAX_SAMPLES:
            raise InvalidBatch([f"more than {MAX_SAMPLES} samples in one batch"])
        if len(batches) > _MAX_RECORD_BATCHES:
            raise InvalidBatch([f"more than {_MAX_RECORD_BATCHES} record batches"])
    return batches


# Before anything is unpacked


def _check_schema(schema: pa.Schema) -> None:
    faults = []
    for column in _COLUMNS:
        found = schema.get_all_field_indices(column)
        if len(found) != 1:
            faults.append(f"column {column!r} is {'there more than once' if found else 'missing'}")
        elif not _fits(column, schema.field(column).type):
            kind = schema.field(column).type
            faults.append(f"column {column!r} is {kind}, not {_expected(column)}")
    unknown = [name for name in schema.names if name not in _COLUMNS]
    faults += [f"column {name[:80]!r} is unknown" for name in unknown[:20]]
    if faults:
        raise InvalidBatch(faults)


def _fits(column: str, kind: pa.DataType) -> bool:
    if column == "time_ms":
        return bool(pa.types.is_int64(kind))
    if column == "value":
        return bool(pa.types.is_float64(kind))
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(text) or pa.types.is_large_string(text))


def _expected(column: str) -> str:
    return {"time_ms": "int64", "value": "double"}.get(column, "(dictionary of) string")


def _refuse_compression(body: bytes) -> None:
    for message in pa.ipc.MessageReader.open_stream(body):
        if message.type == "schema":
            continue
        header = memoryview(message.metadata)
        table = _follow(header, _slot(header, _follow(header, 0), _HEADER_SLOT))
        if message.type == "dictionary":
            table = _follow(header, _slot(header, table, _DICTIONARY_DATA_SLOT))
        if _slot(header, table, _COMPRESSION_SLOT):
            raise InvalidBatch(["its buffers are compressed; compress nothing inside the message"])


def _follow(data: memoryview, at: int) -> int:
    """The target of the flatbuffer offset at ``at``."""
    (offset,) = struct.unpack_from("<I", data, at)
    return int(at + offset)


def _slot(data: memoryview, table: int, slot: int) -> int:
    """The position of field ``slot`` of a flatbuffer table; 0 if the table has none."""
    (back,) = struct.unpack_from("<i", data, table)
    (size,) = struct.unpack_from("<H", data, table - back)
    place = 4 + 2 * slot
    if place + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", data, table - back + place)
    return table + int(offset) if offset else 0


# Columns


def _columns_of(table: pa.Table | pa.RecordBatch) -> SampleBatch:
    (hosts, host), (items, item), (labels, label) = (
        _dictionary(table.column(column)) for column in _TEXT_COLUMNS
    )
    times = _array(table.column("time_ms")).astype(np.int64)
    values = _array(table.column("value")).astype(np.float64)
    clock = (table.schema.metadata or {}).get(_CLOCK, b"")
    known = clock.isdigit() and len(clock) <= _CLOCK_DIGITS
    clock_ms = int(clock) if known else None
    return SampleBatch(hosts, items, labels, host, item, label, times, values, clock_ms)


def _list(metadata: Mapping[bytes, bytes], key: bytes) -> list[Any]:
    return list(json.loads(metadata[key])) if key in metadata else []


def _hashes_of(metadata: Mapping[bytes, bytes], sizes: tuple[int, int, int]) -> Hashes | None:
    raw = metadata.get(_HASHES)
    if raw is None or len(raw) != 8 * sum(sizes):
        return None
    found = np.frombuffer(raw, dtype=np.uint64)
    ends = np.cumsum(sizes)
    return found[: ends[0]], found[ends[0] : ends[1]], found[ends[1] :]


def _dictionary(column: Any) -> tuple[Sequence[str], NDArray[np.int32]]:
    if isinstance(column, pa.DictionaryArray):
        names: Any = column.dictionary
        return _Names(names), _array(column.indices).astype(np.int32)
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    array: Any = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        # Without a single row there is no chunk to combine.
        return [], np.empty(0, dtype=np.int32)
    return _Names(array.dictionary), _array(array.indices).astype(np.int32)


def _array(column: pa.Array[Any] | pa.ChunkedArray[Any]) -> NDArray[Any]:
    """The numbers of a column without nulls."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole)
