"""Distributes batches of any machine to the partitions' streams."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.detector.gateway.senders import Senders
from services.detector.labels import label_batch
from shared.contracts import AnomalyJudged
from shared.samples import SampleBatch, concatenate, encode
from shared.samples.times import fault_of, no_milliseconds
from shared.topology import partition_of

_MESSAGE_SAMPLES = 10_000
"""The samples in one message of a stream: well below a megabyte, enough for vectorised steps."""


class PartitionPublisher(Protocol):
    """The methods of the bus that this module needs."""

    def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
        """Append (partition, body, message id) each; returns once the broker has all of them."""


def now_ms() -> int:
    """The wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Ingest:
    """Splits batches by partition of their machine and publishes them."""

    def __init__(
        self,
        publisher: PartitionPublisher,
        partitions: int,
        clock_ms: Callable[[], int] = now_ms,
        ahead_ms: int = 60_000,
    ) -> None:
        self._publisher = publisher
        self._partitions = partitions
        self._clock_ms = clock_ms
        self.ahead_ms = ahead_ms
        self.senders = Senders(clock_ms)
        # Nobody asks what is in a stream twice: ids need only differ.
        self._run, self._numbers = secrets.token_hex(8), itertools.count()

    def partition_of(self, host: str) -> int:
        """The partition of a machine's samples."""
        return partition_of(host, self._partitions)

    def now_ms(self) -> int:
        """The time here, Unix milliseconds."""
        return self._clock_ms()

    def in_time(self, batch: SampleBatch) -> tuple[SampleBatch, list[str]]:
        """The samples whose times are some, and not in the future, and a fault for the others.

        Samples of the future would move the partition's time.
        """
        now = self._clock_ms()
        senseless = no_milliseconds(batch.time_ms)
        ahead = ~senseless & (batch.time_ms > now + self.ahead_ms)
        faults = []
        if senseless.any():
            at = int(np.argmax(senseless))
            words = f"{_host(batch, at)}: {fault_of(int(batch.time_ms[at]))}"
            faults.append(f"{int(senseless.sum())} samples, the first of {words}")
        if ahead.any():
            at = int(np.argmax(ahead))
            by_s = (int(batch.time_ms[at]) - now) / 1000
            faults.append(
                f"{int(ahead.sum())} samples lie more than {self.ahead_ms / 1000:g} s in the "
                f"future, the first of {_host(batch, at)} by {by_s:.0f} s: "
                "look at that machine's clock"
            )
        return (batch.select(~(senseless | ahead)), faults) if faults else (batch, [])

    def publish(self, batches: Sequence[SampleBatch]) -> None:
        """Return when the broker has every sample; raises as the bus does.

        Sent again after a doubt, samples do no harm: a series takes each time once.
        """
        batch = concatenate([b for b in batches if len(b)] or list(batches)[:1])
        if not len(batch):
            return
        part_of_host = np.array([self.partition_of(host) for host in batch.hosts])
        part = part_of_host[batch.host_code]
        self.publish_parts(
            (int(number), self._part(batch, int(number), np.flatnonzero(part == number)))
            for number in np.unique(part)
        )

    def _part(self, batch: SampleBatch, number: int, rows: NDArray[np.intp]) -> SampleBatch:
        """These rows of the batch, and what is said of the partition's machines."""
        own = tuple(pair for pair in batch.started if self.partition_of(pair[0]) == number)
        return replace(_compact(batch.select(rows)), started=own)

    def publish_parts(self, parts: Iterable[tuple[int, SampleBatch]]) -> None:
        """The same for batches that are of one partition each; all wait for confirms together."""
        bodies = []
        for partition, batch in parts:
            for start in range(0, len(batch), _MESSAGE_SAMPLES):
                whole = len(batch) <= _MESSAGE_SAMPLES
                piece = slice(start, start + _MESSAGE_SAMPLES)
                body = encode(
                    batch
                    if whole
                    else replace(_compact(_slice(batch, piece)), started=batch.started)
                )
                message_id = f"{self._run}-{next(self._numbers)}"
                bodies.append((partition, body, message_id))
        self._publisher.publish_partitions(bodies)

    def label(self, label: AnomalyJudged) -> None:
        """A person's label into its machine's stream, so that it is learnt exactly once."""
        body = encode(label_batch(label))
        partition = self.partition_of(label.series.host)
        self._publisher.publish_partitions([(partition, body, label.label_id)])

    def heartbeat(self) -> None:
        """Publish the time to every partition, so that silence is detected."""
        empty = np.empty(0, dtype=np.int32)
        now = self._clock_ms()
        batch = SampleBatch(
            [],
            [],
            [],
            empty,
            empty,
            empty,
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.float64),
            now,
            senders=self.senders.marks(),
        )
        body = encode(batch)
        self._publisher.publish_partitions(
            [(number, body, f"heartbeat-{number}-{now}") for number in range(self._partitions)]
        )


def _host(batch: SampleBatch, at: int) -> str:
    return batch.hosts[int(batch.host_code[at])]


def _slice(batch: SampleBatch, piece: slice) -> SampleBatch:
    return batch.select(np.arange(piece.start, min(piece.stop, len(batch))))


def _compact(batch: SampleBatch) -> SampleBatch:
    """The batch with only the names it uses."""
    columns = []
    for names, code in (
        (batch.hosts, batch.host_code),
        (batch.items, batch.item_code),
        (batch.labels, batch.label_code),
    ):
        used, new = np.unique(code, return_inverse=True)
        columns.append((used, [names[old] for old in used], new.astype(np.int32)))
    (old_host, hosts, host), (old_item, items, item), (old_label, labels, label) = columns
    known = batch.hashes
    hashes = (
        None if known is None else (known[0][old_host], known[1][old_item], known[2][old_label])
    )
    return SampleBatch(
        hosts, items, labels, host, item, label, batch.time_ms, batch.value, hashes=hashes
    )


class InFlight:
    """Counts the requests in progress, and refuses more than allowed."""

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)

    def enter(self) -> bool:
        """False when there is no place."""
        return self._free.acquire(blocking=False)

    def leave(self) -> None:
        """Leave; to be called after each ``enter`` that returned true."""
        self._free.release()
