"""The series that a gateway knows, found by their encoded labels, parsed once, and evicted.

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
from services.detector.gateway.request_size import sizes_of
from services.detector.gateway.series_columns import FAULTY, IGNORED, TAKEN, SeriesColumns
from services.detector.gateway.series_labels import LOST, MAX_LABEL_BYTES, TOO_LONG
from services.detector.gateway.series_table import SeriesTable
from services.detector.gateway.wire import Places, Sizes, locate
from shared.observe import SERIES_CUT

log = structlog.get_logger(__name__)

_HOUR_S = 3600.0
_FORGET_EVERY_S = 60.0
"""Forgetting looks at every series: not more often than this."""
_FULL = 0.9
_SERIES_BYTES = 1024
"""Bytes of names and labels for each series that may be known: most need less than this."""
_EVERY_READS = 64
_MAX_UNDECIDED = 20_000
_NEW_LABEL_BYTES = 2**26
"""The labels of one request's new series may take so many: a symbol of 2.0 is sent once and may be
used by many series."""


@dataclass(frozen=True)
class Limits:
    """The limits on the number of known series."""

    series: int = 2_000_000
    host_series: int = 20_000
    """The number of series that are kept of one machine."""
    forget_s: float = _HOUR_S
    """Series without samples for this time are evicted first."""
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
        table = SeriesTable()
        self._begin(table, SeriesColumns(table.room))

    def _begin(self, table: SeriesTable, columns: SeriesColumns) -> None:
        self._table, self.columns = table, columns
        self._of_host: list[int] = []
        self._faults: dict[int, str] = {}
        self._crowded = False
        self._undecided: dict[tuple[str, str], list[int]] = {}

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def nbytes(self) -> int:
        """Memory of the columns, without the text of names."""
        return self._table.nbytes + self.columns.nbytes

    def read(self, data: NDArray[np.uint8], *, second: bool) -> Samples:
        """The samples of a decompressed request; ``second`` for the message of 2.0.

        Raises InvalidBatch for a request that is damaged.
        """
        sizes = sizes_of(data, second=second)
        symbols = Places(*np.empty((2, sizes.symbols if second else 0), dtype=np.int64))
        if second:
            locate(data, 4, symbols)
        found = columns_for(sizes.samples, sizes.histograms)
        before = len(self._table)
        self._read(Request(data, symbols, second), found)
        self.columns.heard_s[found.series[found.series >= 0]] = self._clock()
        self._declare(data, found.series, before, sizes, second=second)
        return Samples(found.series, found.time_ms, found.bits.view(np.float64), found.histograms)

    def _read(self, request: Request, found: Columns) -> None:
        table = self._table
        at, before = 0, table.label_bytes
        try:
            while at >= 0:
                room = self._has_bytes() and table.label_bytes - before < _NEW_LABEL_BYTES
                max_series = self._limits.series if room else len(table)
                at = int(read_request(request, at, table.kernels, max_series, self._scratch, found))
                if at >= 0:
                    table.grow(MAX_LABEL_BYTES)
                    self.columns.fit(table.room)
        finally:
            self._meet()

    def _has_bytes(self) -> bool:
        """Return whether there is room for the text of further series."""
        return (
            self._table.label_bytes + self.columns.text_bytes < _SERIES_BYTES * self._limits.series
        )

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
            columns = self.columns
            known[known] = columns.kind[series[known]] == TAKEN
            kinds = declared_kinds(data, len(series))[known]
            self.declared.read_2(kinds, columns.item[series[known]], columns.items)

    def fault(self, series: int) -> str:
        """The fault of a series that is not taken."""
        if series == TOO_LONG:
            return f"a series' labels have more than {MAX_LABEL_BYTES} bytes"
        if series == NO_ROOM:
            return (
                f"the gateway knows {self._limits.series} series and accepts no new ones "
                "(GATEWAY_SERIES)"
            )
        if series == LOST:
            return "a series has references that lead to no symbol"
        return self._faults.get(series, "")

    def shown(self, series: int) -> str:
        """A series as people read it."""
        columns = self.columns
        if series < 0 or columns.kind[series] == FAULTY:
            return "a series that is not taken"
        host, item = columns.hosts[columns.host[series]], columns.items[columns.item[series]]
        return f"{item} of {host}{columns.labels[series]}"

    # New series

    def _meet(self) -> None:
        """Understand every series that the last read has added."""
        new = range(len(self.columns), len(self._table))
        if not new:
            return
        read = [read_labels(self._table.labels(number)) for number in new]
        again: list[int] = []
        for labels, _ in read:
            target = self._targets.note(labels)
            if target is not None:
                again += self._undecided.get(target, [])
        for number, (labels, problem) in zip(new, read, strict=True):
            self._note_undecided(number, labels)
            self._note(number, self._understood(labels, problem))
        for number in again:
            self._note(number, self._understood(*read_labels(self._table.labels(number))))

    def _note_undecided(self, number: int, labels: Mapping[str, str]) -> None:
        """Remember a series one of whose labels may turn out to name its machine, or not to."""
        if self._targets.may_tell(labels):
            waiting = self._undecided.setdefault(target_of(labels), [])
            if len(waiting) < _MAX_UNDECIDED:
                waiting.append(number)
            if len(self._undecided) > _MAX_UNDECIDED:
                del self._undecided[next(iter(self._undecided))]

    def _understood(self, labels: dict[str, str], problem: str) -> Understood | str | None:
        try:
            limits = self._limits
            return named(labels, problem, self._ignore, limits.machine_label, self._targets)
        except Exception:
            # Half a table would refuse every later request: what nobody foresaw is a bad series.
            log.exception("series_not_understood", labels=repr(labels)[:500])
            return "a series whose labels could not be understood"

    def _note(self, number: int, found: Understood | str | None) -> None:
        columns = self.columns
        if number < len(columns) and columns.kind[number] == TAKEN:
            # It is understood again: its machine may be another one.
            self._of_host[columns.host[number]] -= 1
        columns.heard_s[number] = self._clock()
        columns.sender[number] = -1
        host = item = -1
        text, kind = "", TAKEN
        if isinstance(found, Understood):
            host, item = columns.hosts.code(found.host), columns.items.code(found.item)
            text = found.labels
            found = self._counted(number, host, found)
        if found is None:
            kind = IGNORED
        elif isinstance(found, str):
            kind, self._faults[number] = FAULTY, found
        columns.put(number, kind, host, item, text)

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
        self.columns.partition[number] = self._partition_of(found.host)
        return found

    # Room

    def make_room(self) -> None:
        """Forget series without recent samples, if some limit is near.

        Those that stay get new numbers: not while somebody still holds old ones.
        """
        now = self._clock()
        near = len(self) >= _FULL * self._limits.series or self._crowded or not self._has_bytes()
        if not near or now - self._forgot_s < _FORGET_EVERY_S:
            return
        self._forgot_s = now
        size = len(self)
        recent = self.columns.heard_s[:size] > now - self._limits.forget_s
        # A refusal is worked out again: there may be room now.
        self._keep(np.flatnonzero(recent & (self.columns.kind[:size] != FAULTY)))

    def _keep(self, kept: NDArray[np.intp]) -> None:
        """Forget all but the series numbered ``kept``, which get new numbers."""
        table, old = self._table, self.columns
        table.keep(kept)
        self._begin(table, old.kept(kept, table.room))
        columns, size = self.columns, len(kept)
        taken = columns.host[:size][columns.kind[:size] == TAKEN]
        self._of_host = np.bincount(taken, minlength=len(columns.hosts)).tolist()
