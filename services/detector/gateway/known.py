"""The series a gateway knows: found by their encoded labels, understood once, forgotten in time.

``KnownSeries.read`` is the machine-coded way (see ``wire``) from a request to columns of series
numbers, times and values. Text is looked at when a series is new. What may be kept is bounded:
series in all, and series of one machine; at the bound, series not heard of for a while are
forgotten first, then new ones are refused by name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from services.detector.gateway import wire
from services.detector.gateway.metadata import Declared, declared_kinds
from services.detector.gateway.names import (
    Names,
    Targets,
    Understood,
    is_scraped,
    named,
    read_labels,
    target_of,
)
from shared.name_hashes import name_hash
from shared.observe import SERIES_CUT
from shared.samples import InvalidBatch

log = structlog.get_logger(__name__)

TAKEN, IGNORED, FAULTY = 0, 1, 2
_FIRST_SERIES, _FIRST_BYTES = 1024, 1 << 18
_HOUR_S = 3600.0
_LEAST_BETWEEN_S = 60.0
"""Forgetting looks at every series: not more often than this."""
_FULL = 0.9
_SERIES_BYTES = 1024
"""Of names and labels, for each of the series that may be known: some have more, most have less."""
_EVERY_READS = 64
_MOST_UNDECIDED = 20_000
MOST_SAMPLES = 50_000
"""Of one request."""
_COLUMNS = ("kind", "host", "item", "label_hash", "partition", "sender", "_heard_s")


@dataclass(frozen=True)
class Limits:
    """How many series are known at most."""

    series: int = 2_000_000
    host_series: int = 20_000
    """Of one machine."""
    forget_s: float = _HOUR_S
    """Series not heard of for so long make room."""
    machine_label: str = ""
    """The label that names the machine before all others."""


@dataclass(frozen=True)
class Columns:
    """The samples of a request. ``series`` numbers them, or says wire.TOO_LONG or NO_ROOM."""

    series: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    histograms: NDArray[np.int64]
    """The series of each native histogram."""


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
        self._seed = np.uint64(secrets.randbits(64))
        self._scratch = np.empty(wire.MOST_LABEL_BYTES, dtype=np.uint8)
        self._forgot_s = -np.inf
        self._reads = 0
        self._targets = Targets()
        self.declared = Declared()
        self._begin()

    def _begin(self) -> None:
        self._slots = np.full(4 * _FIRST_SERIES, -1, dtype=np.int32)
        self._hashes = np.empty(_FIRST_SERIES, dtype=np.uint64)
        self._spans = np.empty((_FIRST_SERIES, 2), dtype=np.int64)
        self._arena = np.empty(_FIRST_BYTES, dtype=np.uint8)
        self._used = np.zeros(2, dtype=np.int64)
        self.kind = np.empty(_FIRST_SERIES, dtype=np.int8)
        self.host = np.empty(_FIRST_SERIES, dtype=np.int32)
        self.item = np.empty(_FIRST_SERIES, dtype=np.int32)
        self.label_hash = np.empty(_FIRST_SERIES, dtype=np.uint64)
        self.partition = np.empty(_FIRST_SERIES, dtype=np.int32)
        self.sender = np.empty(_FIRST_SERIES, dtype=np.int16)
        """Number of who sent it last; -1: nobody was noted."""
        self._heard_s = np.empty(_FIRST_SERIES, dtype=np.float64)
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
        names = (*_COLUMNS, "_slots", "_hashes", "_spans", "_arena")
        return sum(getattr(self, name).nbytes for name in names)

    def read(self, data: NDArray[np.uint8], *, second: bool) -> Columns:
        """The samples of a decompressed request; ``second`` for the message of 2.0.

        Raises InvalidBatch for a request that is damaged.
        """
        sizes = np.zeros(5, dtype=np.int64)
        at = wire.measure(data, 5 if second else 1, 3 if second else 4, sizes)
        if at >= 0:
            raise InvalidBatch([f"not a write request: damaged at byte {at}"])
        if sizes[1] > MOST_SAMPLES:
            raise InvalidBatch([f"more than {MOST_SAMPLES} samples in one request"])
        starts, ends = np.empty((2, int(sizes[3]) if second else 0), dtype=np.int64)
        if second:
            wire.symbols(data, starts, ends)
        series = np.empty(sizes[1], dtype=np.int64)
        times, bits = np.empty(sizes[1], dtype=np.int64), np.empty(sizes[1], dtype=np.uint64)
        odd = np.empty(sizes[2], dtype=np.int64)
        done = np.zeros(2, dtype=np.int64)
        before = int(self._used[0])
        most = self._limits.series if self._has_bytes() else before
        at = 0
        try:
            while at >= 0:
                at = wire.read(
                    data,
                    at,
                    starts,
                    ends,
                    second,
                    self._seed,
                    self._scratch,
                    self._slots,
                    self._hashes,
                    self._spans,
                    self._arena,
                    self._used,
                    most,
                    series,
                    times,
                    bits,
                    odd,
                    done,
                )
                if at >= 0:
                    self._grow()
        finally:
            self._meet()
        self._heard_s[series[series >= 0]] = self._clock()
        self._declare(data, series, before, sizes, second=second)
        return Columns(series, times, bits.view(np.float64), odd)

    def _has_bytes(self) -> bool:
        """Whether there is room for the text of further series."""
        return int(self._used[1]) + self._text_bytes < _SERIES_BYTES * self._limits.series

    def _declare(
        self,
        data: NDArray[np.uint8],
        series: NDArray[np.int64],
        before: int,
        sizes: NDArray[np.int64],
        *,
        second: bool,
    ) -> None:
        """Take in which series the request declares to be counters.

        2.0 says it with every series, mostly the same: it is looked at where a series is new,
        and now and then.
        """
        self._reads += 1
        if not second and sizes[4]:
            self.declared.read_1(data)
        elif second and (self._used[0] > before or self._reads % _EVERY_READS == 0):
            known = series >= 0
            known[known] = self.kind[series[known]] == TAKEN
            kinds = declared_kinds(data, len(series))[known]
            self.declared.read_2(kinds, self.item[series[known]], self.items)

    def fault(self, series: int) -> str:
        """What is wrong with a series that is not taken."""
        if series == wire.TOO_LONG:
            return f"a series' labels have more than {wire.MOST_LABEL_BYTES} bytes"
        if series == wire.NO_ROOM:
            return (
                f"the gateway knows {self._limits.series} series and takes no new ones "
                "(GATEWAY_SERIES)"
            )
        if series == wire.LOST:
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
        new = range(len(self.labels), int(self._used[0]))
        if not new:
            return
        read = [read_labels(self._encoded(number)) for number in new]
        again: list[int] = []
        for labels, _ in read:
            target = self._targets.note(labels)
            if target is not None:
                again += self._undecided.pop(target, [])
        for number, (labels, problem) in zip(new, read, strict=True):
            self._note_undecided(number, labels)
            self._note(number, self._understood(labels, problem))
        for number in again:
            self._note(number, self._understood(*read_labels(self._encoded(number))))

    def _note_undecided(self, number: int, labels: Mapping[str, str]) -> None:
        """Remember a series whose ``host`` may yet turn out to be its target's."""
        if "host" in labels and is_scraped(labels) and not self._targets.name(labels):
            waiting = self._undecided.setdefault(target_of(labels), [])
            if len(waiting) < _MOST_UNDECIDED and len(self._undecided) < _MOST_UNDECIDED:
                waiting.append(number)

    def _encoded(self, number: int) -> bytes:
        start, length = self._spans[number]
        return self._arena[start : start + length].tobytes()

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
        if found is None:
            kind = IGNORED
        elif isinstance(found, str):
            kind, self._faults[number] = FAULTY, found
        else:
            if found.cut:
                SERIES_CUT.inc()
                log.info("labels_cut", host=found.host, item=found.item, labels=found.labels[:500])
            host, item, text = (
                self.hosts.code(found.host),
                self.items.code(found.item),
                found.labels,
            )
            if host == len(self._of_host):
                self._of_host.append(0)
            if self._of_host[host] >= self._limits.host_series:
                self._crowded = True
                kind, self._faults[number] = (
                    FAULTY,
                    (
                        f"{found.host} has {self._limits.host_series} series and gets no new ones "
                        f"(GATEWAY_HOST_SERIES): {found.item}{found.labels[:200]}"
                    ),
                )
            else:
                self._of_host[host] += 1
                self.partition[number] = self._partition_of(found.host)
        self.kind[number], self.host[number], self.item[number] = kind, host, item
        if number == len(self.labels):
            self.labels.append(text)
        else:
            self.labels[number] = text
        self._text_bytes += len(text)
        self.label_hash[number] = name_hash(text)

    # Room

    def make_room(self) -> None:
        """Forget series not heard of for a while, if some bound is near.

        Those that stay get new numbers: not while somebody still holds old ones.
        """
        now = self._clock()
        near = len(self) >= _FULL * self._limits.series or self._crowded or not self._has_bytes()
        if not near or now - self._forgot_s < _LEAST_BETWEEN_S:
            return
        self._forgot_s = now
        size = len(self)
        recent = self._heard_s[:size] > now - self._limits.forget_s
        # A refusal is worked out anew: there may be room now.
        self._keep(np.flatnonzero(recent & (self.kind[:size] != FAULTY)))

    def _keep(self, kept: NDArray[np.intp]) -> None:
        """Forget all but the series numbered ``kept``, which get new numbers."""
        names = {"host": self.hosts, "item": self.items}
        old = {name: getattr(self, name)[kept] for name in (*_COLUMNS, "_hashes", "_spans")}
        labels, arena = self.labels, self._arena
        self._begin()
        size = len(kept)
        while len(self._hashes) < size:
            self._double()
        self._arena = np.empty(max(int(old["_spans"][:, 1].sum()), _FIRST_BYTES), dtype=np.uint8)
        self._used[:] = size, wire.gather(arena, old["_spans"], self._arena)
        self.labels = [labels[number] for number in kept]
        self._text_bytes = sum(map(len, self.labels))
        for name, values in old.items():
            getattr(self, name)[:size] = values
        for name, known in names.items():
            codes = getattr(self, name)[:size]
            used, place = np.unique(codes[codes >= 0], return_inverse=True)
            table = self.hosts if name == "host" else self.items
            for code in used:
                table.code(known[code])
            codes[codes >= 0] = place
        taken = self.host[:size][self.kind[:size] == TAKEN]
        self._of_host = np.bincount(taken, minlength=len(self.hosts)).tolist()
        wire.place(self._hashes, size, self._slots)

    def _grow(self) -> None:
        """Double what is full: table and columns, or the arena."""
        if self._used[0] < len(self._hashes) and 2 * (self._used[0] + 1) <= len(self._slots):
            longer = np.empty(2 * len(self._arena) + wire.MOST_LABEL_BYTES, dtype=np.uint8)
            longer[: self._used[1]] = self._arena[: self._used[1]]
            self._arena = longer
        else:
            self._double()
            wire.place(self._hashes, int(self._used[0]), self._slots)

    def _double(self) -> None:
        room = len(self._hashes)
        for name in (*_COLUMNS, "_hashes", "_spans"):
            old = getattr(self, name)
            new = np.empty((2 * room, *old.shape[1:]), dtype=old.dtype)
            new[:room] = old
            setattr(self, name, new)
        self._slots = np.full(8 * room, -1, dtype=np.int32)
