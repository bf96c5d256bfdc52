"""Recorded series from files, as columns: CSV, Parquet, or a Prometheus range query's JSON.

CSV and Parquet have the columns ``host``, ``item``, ``time`` (seconds or milliseconds since 1970
or ISO 8601) and ``value``, and may have ``labels`` (JSON). In a range query's answer the host is
the label ``instance`` without its port and the item is the metric's name; node_exporter's series
are understood as they are when they come in live.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from replay.checked import faults_of
from shared.name_hashes import NameHashes
from shared.samples import SampleBatch, concatenate, from_rows, labels_text
from shared.time_zones import LAST_MS

_NEEDED = ("host", "item", "time", "value")
_FIRST_MILLISECONDS = 100_000_000_000
"""Larger numbers are milliseconds: as seconds they would lie beyond the year 5000."""
_UNREADABLE = (
    OSError,
    pa.ArrowException,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
)
"""Errors of files that are not of the form that their suffix says, or of another one inside."""
_NOT_LABELS = {"__name__", "instance", "job"}


class UnreadableError(ValueError):
    """A file is not what it should be; the text says which and why."""


def read(paths: Sequence[Path]) -> SampleBatch:
    """All samples of ``paths``, in the order of their times.

    Raises:
        UnreadableError: a file is missing, of an unknown kind, or lacks a column.
    """
    faults, batches = [], []
    for path in paths:
        try:
            batches.append(_read(path))
        except _UNREADABLE as error:
            faults.append(f"{path}: {_why(error)}")
    if faults or not batches:
        raise UnreadableError("; ".join(faults) or "no file given")
    batch = concatenate(batches)
    return batch.select(np.argsort(batch.time_ms, kind="stable"))


@dataclass(frozen=True)
class Clock:
    """The ticks of virtual time in which there is any sample, oldest first."""

    tick_ms: int
    numbers: NDArray[np.int64]
    """The number of each tick: Unix milliseconds over ``tick_ms``."""
    newest_ms: NDArray[np.int64]
    """The newest sample's time in each."""


def clock_of(batch: SampleBatch, tick_ms: int) -> Clock:
    """The ticks of all samples, which are in the order of their times."""
    number = batch.time_ms // tick_ms
    last = np.flatnonzero(np.diff(number, append=np.iinfo(np.int64).max))
    return Clock(tick_ms, number[last], batch.time_ms[last])


def ticks(batch: SampleBatch, clock: Clock) -> Iterator[SampleBatch]:
    """The samples of each tick, maybe none, with that time's clock."""
    number, hashes = batch.time_ms // clock.tick_ms, NameHashes()
    names = hashes.of(batch.hosts), hashes.of(batch.items), hashes.of(batch.labels)
    bounds = [*np.searchsorted(number, clock.numbers).tolist(), len(batch)]
    for (begin, end), newest in zip(pairwise(bounds), clock.newest_ms.tolist(), strict=True):
        part = slice(begin, end)
        yield SampleBatch(
            batch.hosts,
            batch.items,
            batch.labels,
            batch.host_code[part],
            batch.item_code[part],
            batch.label_code[part],
            batch.time_ms[part],
            batch.value[part],
            newest,
            names,
        )


def _why(error: Exception) -> str:
    """The reason alone: the file is named already, and some libraries say nothing but its name."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _read(path: Path) -> SampleBatch:
    batch = _parsed(path)
    if faults := list(faults_of(batch)):
        raise ValueError("; ".join(faults))
    return batch


def _parsed(path: Path) -> SampleBatch:
    match path.suffix.lower():
        case ".csv":
            kept = csv.ConvertOptions(include_columns=None, strings_can_be_null=False)
            return _columns(csv.read_csv(path, convert_options=kept))
        case ".parquet":
            return _columns(parquet.read_table(path))
        case ".json":
            return _range(orjson.loads(path.read_bytes()))
        case suffix:
            raise ValueError(f"{suffix or 'no'} suffix; .csv, .parquet or .json can be read")


def _columns(table: pa.Table) -> SampleBatch:
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}")
    names = [_names(table[name]) for name in ("host", "item")]
    if "labels" in table.column_names:
        # A column in which every row is empty has no type, and Parquet may hold nulls.
        texts: Any = table["labels"].cast(pa.string())
        names.append(_names(pc.fill_null(texts, "")))
    else:
        names.append(([""], np.zeros(len(table), dtype=np.int32)))
    (hosts, host), (items, item), (labels, label) = names
    canonical = [labels_text(orjson.loads(text)) if text else "" for text in labels]
    value = np.asarray(table["value"].cast(pa.float64()).to_numpy(), dtype=np.float64)
    return SampleBatch(hosts, items, canonical, host, item, label, _times(table["time"]), value)


def _names(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    # A column of a dictionary type may have one dictionary a chunk: as text they are one.
    encoded: Any = pc.dictionary_encode(column.cast(pa.string()).combine_chunks())
    if encoded.null_count:
        raise ValueError("a name is missing")
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int32)
    return encoded.dictionary.to_pylist(), codes


def _times(column: Any) -> NDArray[np.int64]:
    if pa.types.is_string(column.type):
        column = pc.cast(column, pa.timestamp("ms", tz="UTC"))
    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy())
    numbers = np.asarray(column.to_numpy(), dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("a time is no number")
    scale = np.where(np.abs(numbers) < _FIRST_MILLISECONDS, 1000.0, 1.0)
    if len(numbers) and np.abs(numbers * scale).max() > LAST_MS:
        raise ValueError("a time is after the year 9999")
    return np.asarray(np.rint(numbers * scale), dtype=np.int64)


def _range(answer: dict[str, Any]) -> SampleBatch:
    found = answer.get("data", answer)["result"]
    return from_rows(
        (host, series["metric"]["__name__"], labels, round(float(at) * 1000), float(value))
        for series in found
        for host, labels in [_who(series["metric"])]
        for at, value in series["values"]
    )


def _who(metric: dict[str, str]) -> tuple[str, str]:
    host = metric.get("instance", "unknown").rpartition(":")[0] or metric.get("instance", "unknown")
    rest = {name: value for name, value in metric.items() if name not in _NOT_LABELS}
    return host, labels_text(rest)
