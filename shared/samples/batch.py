"""Batches of samples as columns; ``shared.samples.arrow`` encodes them.

One row is a sample: machine, item, labels (canonical JSON with sorted names, or empty), Unix time
in milliseconds and a value. NaN says that there is no value, as Prometheus' staleness marker does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.contracts.metrics import MAX_SAMPLES, MetricBatch, Sample
from shared.samples.names import kept_labels, labels_from


class InvalidBatch(ValueError):
    """A batch is refused; ``faults`` names everything that is wrong with it."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


Hashes: TypeAlias = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]


class Sender(NamedTuple):
    """A sender of machines' samples, such as a Prometheus or an agent."""

    name: str
    heard_ms: int
    """The time of its last request, by the gateway's clock."""
    machines: int
    """The number of machines it brings."""


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
    counters: tuple[str, ...] = ()
    """Items that their exporters declare to be counters, whatever their names are."""
    senders: tuple[Sender, ...] = ()
    """The recent senders of the gateway."""
    brought: tuple[tuple[str, str], ...] = ()
    """(machine, sender's name), where the gateway has seen the two together for the first time."""
    started: tuple[tuple[str, int], ...] = ()
    """(machine, Unix milliseconds): when the agent that sends its samples began."""

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
            started=self.started,
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
        started=tuple(dict(pair for batch in batches for pair in batch.started).items()),
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
    batch = from_rows(
        (message.host, sample.item, kept_labels(sample.labels).text, sample.time_ms, sample.value)
        for sample in message.samples
    )
    if message.agent_age_s is None:
        return batch
    # The time is the sender's own, like the samples' times.
    started_ms = int(batch.time_ms.max()) - round(message.agent_age_s * 1000)
    return replace(batch, started=((message.host, started_ms),))


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
