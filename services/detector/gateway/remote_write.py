"""Turns remote-write requests into batches: decompressed, decoded, checked, split by partition."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import cramjam
import numpy as np
from numpy.typing import NDArray

from services.detector.gateway.known import KnownSeries, Limits, Samples
from services.detector.gateway.protobuf import read_number
from services.detector.gateway.senders import Senders
from services.detector.gateway.series_columns import IGNORED, TAKEN
from shared.samples import InvalidBatch, SampleBatch
from shared.samples.times import fault_of, no_milliseconds

_MAX_SENDERS = 10_000
_SIZE_BYTES = 5
_MAX_FAULTS = 20
_FRAMED = b"\xff\x06\x00\x00sNaPpY"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_ID_BYTES = (0, 1, 2, 4)


class Message(StrEnum):
    """The protobuf message of a request, as named in the Content-Type's ``proto``."""

    V1 = "prometheus.WriteRequest"
    V2 = "io.prometheus.write.v2.Request"


@dataclass
class Received:
    """The outcome of one request."""

    taken: int = 0
    """Samples that are kept."""
    ignored: int = 0
    """Samples of series nobody wants: taken, and dropped."""
    refused: int = 0
    """Samples of OpenTelemetry's that are not kept."""
    faults: list[str] = field(default_factory=list)

    def add(self, faults: Sequence[str]) -> None:
        """Note faults; more than a person reads are counted only."""
        room = max(_MAX_FAULTS - len(self.faults), 0)
        self.faults += faults[:room]
        if len(faults) > room:
            self.faults = [*self.faults[:_MAX_FAULTS], f"and {len(faults) - room} more"]


def decompress(body: bytes, encoding: str, most_bytes: int) -> NDArray[np.uint8]:
    """The body without its compression: ``snappy`` (block format) or ``zstd``.

    Raises InvalidBatch if it is damaged or larger than ``most_bytes``: never more than that is
    unpacked.
    """
    if not body:
        raise InvalidBatch(["the body is empty"])
    if body.startswith(_FRAMED):
        raise InvalidBatch(["snappy's framed format; remote write wants the block format"])
    size = _zstd_size(body) if encoding == "zstd" else _snappy_size(body)
    if size is not None and size > most_bytes:
        raise InvalidBatch([f"{size} bytes when decompressed, more than {most_bytes}"])
    room = bytearray(most_bytes if size is None else size)
    zstd = encoding == "zstd"
    codec = cramjam.zstd.decompress_into if zstd else cramjam.snappy.decompress_raw_into
    try:
        length = codec(body, room)
    except cramjam.DecompressionError as error:
        unknown = f", or more than {most_bytes} bytes" if size is None else ""
        raise InvalidBatch([f"not {encoding}{unknown}: {error}"]) from error
    return np.frombuffer(room, dtype=np.uint8)[:length]


def _snappy_size(body: bytes) -> int:
    size, _ = read_number(body, 0, min(len(body), _SIZE_BYTES))
    return size


def _zstd_size(body: bytes) -> int | None:
    """The size of the content by the frame's header (RFC 8878, 3.1.1.1); None: it has none."""
    if body[:4] != _ZSTD_MAGIC or len(body) < len(_ZSTD_MAGIC) + 1:
        raise InvalidBatch(["not zstd: no frame header"])
    descriptor = body[4]
    flag, single = descriptor >> 6, descriptor >> 5 & 1
    start = 5 + (not single) + _ZSTD_ID_BYTES[descriptor & 3]
    width = 1 << flag if flag or single else 0
    if not width or len(body) < start + width:
        return None
    size = int.from_bytes(body[start : start + width], "little")
    return size + 256 if width == 2 else size  # noqa: PLR2004 - two bytes count from 256


class Receiver:
    """Turns requests into batches of one partition each; one thread at a time."""

    def __init__(
        self,
        ignore: str,
        partition_of: Callable[[str], int],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        senders: Senders | None = None,
    ) -> None:
        self.known = KnownSeries(ignore, limits or Limits(), partition_of, clock)
        self._partition_of = partition_of
        self._senders = senders
        self._sender_codes: dict[str, int] = {}
        self._pending: list[Samples] = []

    def read(
        self,
        data: NDArray[np.uint8],
        message: Message,
        now_ms: int,
        ahead_ms: int = 0,
        sender: str = "",
    ) -> Received:
        """Keep the good samples of a decompressed request for ``batches``.

        Good samples of a request with bad ones are kept, as the protocol allows. Raises
        InvalidBatch for a request that is damaged or too large as a whole: nothing is kept of it.

        Args:
            data: the protobuf message.
            message: which one.
            now_ms: the time here.
            ahead_ms: samples so much later are refused: they would move the partition's time.
            sender: who sends it; empty: nobody whose silence is to be noticed.
        """
        if not self._pending:
            self.known.make_room()
        columns = self.known.read(data, second=message is Message.V2)
        received = Received()
        known = columns.series >= 0
        kind = np.where(known, self.known.columns.kind[columns.series], -1)
        good = kind == TAKEN
        received.ignored = int((kind == IGNORED).sum())
        bad = columns.series[~good & (kind != IGNORED)]
        received.add([self.known.fault(int(number)) for number in np.unique(bad)])
        good &= self._in_time(columns, good, now_ms, ahead_ms, received)
        received.add(self._histograms(columns))
        if not good.all():
            columns = Samples(
                columns.series[good], columns.time_ms[good], columns.value[good], columns.histograms
            )
        received.taken = len(columns.series)
        if sender and self._senders is not None:
            self._note_sender(self._senders, sender, columns.series)
        if received.taken:
            self._pending.append(columns)
        return received

    def _histograms(self, columns: Samples) -> list[str]:
        """A fault for each series that came as a native histogram."""
        shown = (self.known.shown(int(number)) for number in np.unique(columns.histograms))
        return [f"{series}: native histograms are not supported" for series in shown]

    def _note_sender(self, senders: Senders, sender: str, series: NDArray[np.int64]) -> None:
        """Publish machines that are new for the sender."""
        senders.heard(sender)
        if senders.begin_again() or len(self._sender_codes) >= _MAX_SENDERS:
            self.tell_senders_again()
        code = self._sender_codes.setdefault(sender, len(self._sender_codes))
        new = series[self.known.columns.sender[series] != code]
        if len(new):
            self.known.columns.sender[new] = code
            hosts = np.unique(self.known.columns.host[new])
            senders.brings(sender, [self.known.columns.hosts[host] for host in hosts])

    def tell_senders_again(self) -> None:
        """The senders of these series count as not yet published."""
        if self._senders is not None:
            self._senders.unpublished()
        self._sender_codes.clear()
        self.known.columns.sender[:] = -1

    def _brought(self) -> dict[int, list[tuple[str, str]]]:
        """(machine, sender) that are news, by the machine's partition."""
        found: dict[int, list[tuple[str, str]]] = {}
        for machine, sender in self._senders.news() if self._senders is not None else ():
            found.setdefault(self._partition_of(machine), []).append((machine, sender))
        return found

    def _in_time(
        self,
        columns: Samples,
        good: NDArray[np.bool_],
        now_ms: int,
        ahead_ms: int,
        received: Received,
    ) -> NDArray[np.bool_]:
        times = columns.time_ms
        senseless = no_milliseconds(times)
        ahead = ~senseless & (times > now_ms + ahead_ms)
        if not (senseless.any() or ahead.any()):
            return ~ahead
        for at in np.flatnonzero(good & (senseless | ahead)):
            words = fault_of(int(times[at]))
            if ahead[at]:
                words = f"{(times[at] - now_ms) / 1000:.0f} s in the future: look at its clock"
            received.add([f"{self.known.shown(int(columns.series[at]))}: {words}"])
        return ~(senseless | ahead)

    def batches(self) -> list[tuple[int, SampleBatch]]:
        """Everything kept since the last call, as (partition, batch); each partition once."""
        pending, self._pending = self._pending, []
        if not pending:
            return []
        series = np.concatenate([columns.series for columns in pending])
        times = np.concatenate([columns.time_ms for columns in pending])
        values = np.concatenate([columns.value for columns in pending])
        # Infinity says as little as a staleness marker does: there is no value.
        values[np.isinf(values)] = np.nan
        partition = self.known.columns.partition[series]
        order = np.argsort(partition, kind="stable")
        counts = np.bincount(partition)
        ends = np.cumsum(counts)
        brought = self._brought()
        return [
            (
                int(number),
                self._batch(
                    series[chosen],
                    times[chosen],
                    values[chosen],
                    tuple(brought.get(int(number), ())),
                ),
            )
            for number in np.flatnonzero(counts)
            for chosen in (order[ends[number] - counts[number] : ends[number]],)
        ]

    def _batch(
        self,
        series: NDArray[np.int64],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
        brought: tuple[tuple[str, str], ...],
    ) -> SampleBatch:
        known = self.known.columns
        used, label = np.unique(series, return_inverse=True)
        hosts, host = np.unique(known.host[used], return_inverse=True)
        items, item = np.unique(known.item[used], return_inverse=True)
        names = [known.items[code] for code in items]
        return SampleBatch(
            [known.hosts[code] for code in hosts],
            names,
            [known.labels[number] for number in used],
            host[label].astype(np.int32),
            item[label].astype(np.int32),
            label.astype(np.int32),
            times,
            values,
            counters=self.known.declared.among(names),
            brought=brought,
            hashes=(known.hosts.hashes(hosts), known.items.hashes(items), known.label_hash[used]),
        )
