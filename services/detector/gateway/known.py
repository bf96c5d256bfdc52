"""The series a gateway knows: found by their encoded labels, understood once, forgotten in time.

``KnownSeries.read`` goes from a request to columns of series numbers, times and values, in machine
code (see ``request_reader``). Text is looked at when a series is new. What may be kept is bounded:
series in all, and series of one machine; at the bound, series not heard of for a while are
forgotten first, then new ones are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from services.detector.gateway.metadata import Declared, declared_kinds
from services.detector.gateway.names import (
    Names,
    Targets,
    Understood,
    named,
    read_labels,
    target_of,
)
from services.detector.gateway.request_reader import (
    NO_ROOM,
    Columns,
    Request,
    columns_for,
    read_request,
)
from services.detector.gateway.series_labels import LOST, MAX_LABEL_BYTES, TOO_LONG
from services.detector.gateway.series_table import SeriesTable
from services.detector.gateway.wire import Places, Sizes, locate, measure
from shared.machine import is_scraped
from shared.name_hashes import name_hash
from shared.observe import SERIES_CUT
from shared.samples import InvalidBatch

log = structlog.get_logger(__name__)

TAKEN, IGNORED, FAULTY = 0, 1, 2
_PROTO_1, _PROTO_2 = "1.0, prometheus.WriteRequest", "2.0, io.prometheus.write.v2.Request"
_HOUR_S = 3600.0
_FORGET_EVERY_S = 60.0
"""Forgetting looks at every series: not more often than this."""
_FULL = 0.9
_SERIES_BYTES = 1024
"""Bytes of names and labels for each series that may be known: most need less than this."""
_EVERY_READS = 64
_MAX_UNDECIDED = 20_000
MAX_SAMPLES = 50_000
"""One request may carry so many samples."""
_MOST = Sizes(
    series=MAX_SAMPLES,
    samples=MAX_SAMPLES,
    histograms=MAX_SAMPLES,
    symbols=40 * MAX_SAMPLES,
    metadata=MAX_SAMPLES,
    labels=40 * MAX_SAMPLES,
)
_NEW_LABEL_BYTES = 2**26
"""Of the new series of one request: 2.0's symbols are said once and may be meant often."""
_COLUMNS = ("kind", "host", "item", "label_hash", "partition", "sender", "_heard_s")


@dataclass(frozen=True)
class Limits:
    """How many series are known at most."""

    series: int = 2_000_000
    host_series: int = 20_000
    """So many series of one machine are kept."""
    forget_s: float = _HOUR_S
    """Series not heard of for so long make room."""
    machine_label: str = ""
    """The label that names the machine before all others."""


@dataclass(frozen=True)
class Samples:
    """The samples of a request, and the series of each native histogram.

    ``series`` numbers them, or says why there is none: TOO_LONG, NO_ROOM or LOST.
    """

    series: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    histograms: NDArray[np.int64]


class KnownSeries:
    """The table of all series; one thread at a time."""

    def __init__(
        self,
        ignore: str,
        limits: Limits,
        partition_of: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._ignore = ignore
        self._limits = limits
        self._partition_of = partition_of
        self._clock = clock
        self._scratch = np.empty(MAX_LABEL_BYTES, dtype=np.uint8)
        self._forgot_s = -np.inf
        self._reads = 0
        self._targets = Targets()
        self.declared = Declared()
        self._begin()

    def _begin(self) -> None:
        self._table = SeriesTable()
        room = self._table.room
        self.kind = np.empty(room, dtype=np.int8)
        self.host = np.empty(room, dtype=np.int32)
        self.item = np.empty(room, dtype=np.int32)
        self.label_hash = np.empty(room, dtype=np.uint64)
        self.partition = np.empty(room, dtype=np.int32)
        self.sender = np.empty(room, dtype=np.int16)
        """Number of who sent it last; -1: nobody was noted."""
        self._heard_s = np.empty(room, dtype=np.float64)
        self.labels: list[str] = []
        self._text_bytes = 0
        self.hosts, self.items = Names(), Names()
        self._of_host: list[int] = []
        self._faults: dict[int, str] = {}
        self._crowded = False
        self._undecided: dict[tuple[str, str], list[int]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Memory of the columns, without the text of names."""
        columns: list[int] = [getattr(self, name).nbytes for name in _COLUMNS]
        return self._table.nbytes + sum(columns)

    def read(self, data: NDArray[np.uint8], *, second: bool) -> Samples:
        """The samples of a decompressed request; ``second`` for the message of 2.0.

        Raises InvalidBatch for a request that is damaged.
        """
        sizes = _sizes(data, second=second)
        symbols = Places(*np.empty((2, sizes.symbols if second else 0), dtype=np.int64))
        if second:
            locate(data, 4, symbols)
        columns = columns_for(sizes.samples, sizes.histograms)
        before = len(self._table)
        self._read(Request(data, symbols, second), columns)
        self._heard_s[columns.series[columns.series >= 0]] = self._clock()
        self._declare(data, columns.series, before, sizes, second=second)
        values = columns.bits.view(np.float64)
        return Samples(columns.series, columns.time_ms, values, columns.histograms)

    def _read(self, request: Request, columns: Columns) -> None:
        table = self._table
        at, before = 0, table.label_bytes
        try:
            while at >= 0:
                room = self._has_bytes() and table.label_bytes - before < _NEW_LABEL_BYTES
                max_series = self._limits.series if room else len(table)
                at = int(
                    read_request(request, at, table.kernels, max_series, self._scratch, columns)
                )
                if at >= 0:
                    table.grow(MAX_LABEL_BYTES)
                    self._fit()
        finally:
            self._meet()

    def _has_bytes(self) -> bool:
        """Whether there is room for the text of further series."""
        return self._table.label_bytes + self._text_bytes < _SERIES_BYTES * self._limits.series

    def _declare(
        self,
        data: NDArray[np.uint8],
        series: NDArray[np.int64],
        before: int,
        sizes: Sizes,
        *,
        second: bool,
    ) -> None:
        """Take in which series the request declares to be counters.

        2.0 says it with every series, mostly the same: it is looked at where a series is new,
        and now and then.
        """
        self._reads += 1
        if not second and sizes.metadata:
            self.declared.read_1(data, sizes.metadata)
        elif second and (len(self._table) > before or self._reads % _EVERY_READS == 0):
            known = series >= 0
            known[known] = self.kind[series[known]] == TAKEN
            kinds = declared_kinds(data, len(series))[known]
            self.declared.read_2(kinds, self.item[series[known]], self.items)

    def fault(self, series: int) -> str:
        """The fault of a series that is not taken."""
        if series == TOO_LONG:
            return f"a series' labels have more than {MAX_LABEL_BYTES} bytes"
        if series == NO_ROOM:
            return (
                f"the gateway knows {self._limits.series} series and takes no new ones "
                "(GATEWAY_SERIES)"
            )
        if series == LOST:
            return "a series has references that lead to no symbol"
        return self._faults.get(series, "")

    def shown(self, series: int) -> str:
        """A series as people read it."""
        if series < 0 or self.kind[series] == FAULTY:
            return "a series that is not taken"
        host, item = self.hosts[self.host[series]], self.items[self.item[series]]
        return f"{item} of {host}{self.labels[series]}"

    # New series

    def _meet(self) -> None:
        """Understand every series that the last read has added."""
        new = range(len(self.labels), len(self._table))
        if not new:
            return
        read = [read_labels(self._table.labels(number)) for number in new]
        again: list[int] = []
        for labels, _ in read:
            target = self._targets.note(labels)
            if target is not None:
                again += self._undecided.pop(target, [])
        for number, (labels, problem) in zip(new, read, strict=True):
            self._note_undecided(number, labels)
            self._note(number, self._understood(labels, problem))
        for number in again:
            self._note(number, self._understood(*read_labels(self._table.labels(number))))

    def _note_undecided(self, number: int, labels: Mapping[str, str]) -> None:
        """Remember a series whose ``host`` may yet turn out to be its target's."""
        if "host" in labels and is_scraped(labels) and not self._targets.name(labels):
            waiting = self._undecided.setdefault(target_of(labels), [])
            if len(waiting) < _MAX_UNDECIDED and len(self._undecided) < _MAX_UNDECIDED:
                waiting.append(number)

    def _understood(self, labels: dict[str, str], problem: str) -> Understood | str | None:
        try:
            limits = self._limits
            return named(labels, problem, self._ignore, limits.machine_label, self._targets)
        except Exception:
            # Half a table would refuse every later request: what nobody foresaw is a bad series.
            log.exception("series_not_understood", labels=repr(labels)[:500])
            return "a series whose labels could not be understood"

    def _note(self, number: int, found: Understood | str | None) -> None:
        if number < len(self.labels) and self.kind[number] == TAKEN:
            # It is understood anew: its machine may be another one.
            self._of_host[self.host[number]] -= 1
        self._heard_s[number] = self._clock()
        self.sender[number] = -1
        host = item = -1
        text, kind = "", TAKEN
        if isinstance(found, Understood):
            host, item = self.hosts.code(found.host), self.items.code(found.item)
            text = found.labels
            found = self._counted(number, host, found)
        if found is None:
            kind = IGNORED
        elif isinstance(found, str):
            kind, self._faults[number] = FAULTY, found
        self.kind[number], self.host[number], self.item[number] = kind, host, item
        if number == len(self.labels):
            self.labels.append(text)
        else:
            self.labels[number] = text
        self._text_bytes += len(text)
        self.label_hash[number] = name_hash(text)

    def _counted(self, number: int, host: int, found: Understood) -> Understood | str:
        """Count a series for its machine, or say that it has too many."""
        if found.cut:
            SERIES_CUT.inc()
            log.info("labels_cut", host=found.host, item=found.item, labels=found.labels[:500])
        if host == len(self._of_host):
            self._of_host.append(0)
        if self._of_host[host] >= self._limits.host_series:
            self._crowded = True
            return (
                f"{found.host} has {self._limits.host_series} series and gets no new ones "
                f"(GATEWAY_HOST_SERIES): {found.item}{found.labels[:200]}"
            )
        self._of_host[host] += 1
        self.partition[number] = self._partition_of(found.host)
        return found

    # Room

    def make_room(self) -> None:
        """Forget series not heard of for a while, if some bound is near.

        Those that stay get new numbers: not while somebody still holds old ones.
        """
        now = self._clock()
        near = len(self) >= _FULL * self._limits.series or self._crowded or not self._has_bytes()
        if not near or now - self._forgot_s < _FORGET_EVERY_S:
            return
        self._forgot_s = now
        size = len(self)
        recent = self._heard_s[:size] > now - self._limits.forget_s
        # A refusal is worked out anew: there may be room now.
        self._keep(np.flatnonzero(recent & (self.kind[:size] != FAULTY)))

    def _keep(self, kept: NDArray[np.intp]) -> None:
        """Forget all but the series numbered ``kept``, which get new numbers."""
        size, table = len(kept), self._table
        names = {"host": self.hosts, "item": self.items}
        old = {name: getattr(self, name)[kept] for name in _COLUMNS}
        labels = [self.labels[number] for number in kept]
        self._begin()
        self._table = table
        table.keep(kept)
        self._fit()
        self.labels = labels
        self._text_bytes = sum(map(len, labels))
        for name, values in old.items():
            getattr(self, name)[:size] = values
        for name, known in names.items():
            codes = getattr(self, name)[:size]
            used, place = np.unique(codes[codes >= 0], return_inverse=True)
            new = self.hosts if name == "host" else self.items
            for code in used:
                new.code(known[code])
            codes[codes >= 0] = place
        taken = self.host[:size][self.kind[:size] == TAKEN]
        self._of_host = np.bincount(taken, minlength=len(self.hosts)).tolist()

    def _fit(self) -> None:
        """Make the columns as long as the table has room."""
        for name in _COLUMNS:
            old = getattr(self, name)
            if len(old) < self._table.room:
                new = np.empty(self._table.room, dtype=old.dtype)
                new[: len(old)] = old
                setattr(self, name, new)


def _sizes(data: NDArray[np.uint8], *, second: bool) -> Sizes:
    """The contents of a request; raises InvalidBatch for one that is damaged or holds too much."""
    counted = np.zeros(len(Sizes._fields), dtype=np.int64)
    at = measure(data, second, counted)
    if at >= 0:
        raise InvalidBatch([f"not a write request: damaged at byte {at}"])
    sizes = Sizes(*counted.tolist())._replace(labels=int(counted[-1]) // 2)
    if not sizes.series and (sizes.metadata if second else sizes.symbols):
        other = _PROTO_1 if second else _PROTO_2
        raise InvalidBatch([f"no series; Content-Type must name {other}, as it looks like"])
    over = [
        name for name, size, most in zip(Sizes._fields, sizes, _MOST, strict=True) if size > most
    ]
    if over:
        raise InvalidBatch(
            [f"more than {getattr(_MOST, each)} {each} in one request" for each in over]
        )
    return sizes
