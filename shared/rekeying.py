"""Raising the number of partitions: the state that a new partition takes over from an old one.

Machines go to partitions by a hash of their names, modulo the number of partitions. Where the new
number is a multiple of the old one, the machines of a new partition all come from one old one: its
number modulo the old number. So a new partition begins with that one's state, of which it keeps its
own machines' part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.columns import Array
from shared.offsets import BEFORE_THE_FIRST
from shared.settings import ServiceSettings
from shared.snapshots import SnapshotStore, Stored, pack, snapshot_places, snapshot_store
from shared.topology import partition_of
from shared.unavailable import Unavailable

Keeps = Callable[[str], bool]
"""Return true if a machine, by its name, belongs to the new partition."""
Select = Callable[[Mapping[str, Array], Keeps], dict[str, Array]]
"""The part of a service's snapshot that is about the machines to keep."""

NumberAfter = Callable[[int, int], int | None]


class NotTakenOver(Unavailable):
    """The state of the old partitions cannot be taken over as the settings are."""


@dataclass(frozen=True)
class Rekeying:
    """A change from ``before`` to ``now`` partitions; equal numbers mean no change.

    Args:
        before: the old number, of which the new one is a multiple.
        now: the new number.
        select: the part of a snapshot that a new partition keeps.
        number_after: see ``Bus.number_after``.
    """

    before: int
    now: int
    select: Select
    number_after: NumberAfter

    def parent(self, partition: int) -> int:
        """The old partition whose machines a new one's come from."""
        return partition % self.before

    def taken_over(self, partition: int, stored: Stored) -> Stored:
        """The new partition's first snapshot, from its parent's last one.

        Raises:
            NotTakenOver: when the parent's stream goes on after its snapshot with batches of the
                old number, or it is not known yet.
            DamagedSnapshotError: when the snapshot is not whole.
        """
        offset, arrays = stored.unpack()
        parent = self.parent(partition)
        # Whatever follows in the parent's stream must be of the new number already.
        number = self.number_after(parent, offset)
        if number is None:
            raise NotTakenOver(
                f"the snapshot of partition {parent} of {self.before} ends at {offset}, and no"
                " batch of a gateway with the new number has come after it yet"
            )
        if number != self.now:
            raise NotTakenOver(
                f"partition {parent} of {self.before} was not worked to its end (its snapshot ends"
                f" at {offset}): start all with METRIC_PARTITIONS={self.before} again, take no"
                " samples in, and wait until there is no lag"
            )
        kept = self.select(arrays, lambda host: partition_of(host, self.now) == partition)
        # Streams keep their names: the parent continues in its own, the others' are new.
        return Stored(pack(offset if parent == partition else BEFORE_THE_FIRST, kept))

    def check(self, partition: int, stored: Stored) -> None:
        """Raise NotTakenOver unless a snapshot is of this partition by the number of now."""
        strangers: list[str] = []

        def keeps(host: str) -> bool:
            if partition_of(host, self.now) != partition:
                strangers.append(host)
            return True

        self.select(stored.unpack()[1], keeps)
        if strangers:
            raise NotTakenOver(
                f"the snapshots are not of {self.now} partitions ({strangers[0]} is not of"
                f" partition {partition}): give METRIC_PARTITIONS its old value, or give that as"
                " METRIC_PARTITIONS_BEFORE"
            )


class PartitionSnapshots:
    """The snapshots of one partition, or, as long as it has none, the state that it takes over.

    Args:
        settings: where snapshots are, and the numbers of partitions.
        service: whose.
        partition: which one.
        select: see `Rekeying`.
        number_after: see ``Bus.number_after``.
        remote: whether they are in the object store.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        service: str,
        partition: int,
        select: Select,
        number_after: NumberAfter,
        *,
        remote: bool,
    ) -> None:
        now = settings.metric_partitions
        self._raised = bool(settings.metric_partitions_before)
        self._rekeying = Rekeying(
            settings.metric_partitions_before or now, now, select, number_after
        )
        self._partition = partition
        self._settings, self._service, self._remote = settings, service, remote
        self._own = self._at(f"{now}/{partition}")

    def _at(self, place: str) -> SnapshotStore:
        return snapshot_store(self._settings, f"{self._service}/{place}", remote=self._remote)

    def write(self, offset: int, arrays: Mapping[str, Array]) -> None:
        """Keep the state."""
        self._own.write(offset, arrays)

    def begin_again(self) -> None:
        """See ``SnapshotStore``."""
        self._own.begin_again()

    def newest_first(self) -> Iterator[tuple[str, Stored]]:
        """Return the snapshots by name or, without any, the state to begin with.

        Raises:
            NotTakenOver: see there.
        """
        kept = snapshot_places(self._settings, self._service, remote=self._remote)
        if f"{self._rekeying.now}/{self._partition}" in kept:
            yield from self._own.newest_first()
        elif self._raised:
            yield from self._parents(kept)
        else:
            yield from self._unnumbered(kept)

    def _parents(self, kept: frozenset[str]) -> Iterator[tuple[str, Stored]]:
        """Only the last one: after an older one the stream has gone on."""
        parent = self._rekeying.parent(self._partition)
        numbered, unnumbered = f"{self._rekeying.before}/{parent}", str(parent)
        place = numbered if numbered in kept else unnumbered
        for name, stored in islice(self._at(place).newest_first(), 1):
            yield f"{place}/{name}", self._rekeying.taken_over(self._partition, stored)

    def _unnumbered(self, kept: frozenset[str]) -> Iterator[tuple[str, Stored]]:
        """The snapshots of a version that did not separate partitions of different numbers."""
        now = self._rekeying.now
        numbers = {place.partition("/")[0] for place in kept if "/" in place}
        if str(now) in numbers:
            return  # only this partition had nothing to keep
        if numbers:
            raise NotTakenOver(
                f"the snapshots are of {', '.join(sorted(numbers))} partitions, not of {now}: give"
                " METRIC_PARTITIONS that value, or give it as METRIC_PARTITIONS_BEFORE"
            )
        for place in sorted(kept, key=int)[:1]:
            for _, stored in islice(self._at(place).newest_first(), 1):
                self._rekeying.check(int(place), stored)
        if str(self._partition) in kept:
            yield from self._at(str(self._partition)).newest_first()


def rows_kept(names: Array, keeps: Keeps) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A ``SeriesIndex``'s names without other machines' series, and which rows are left."""
    known = orjson.loads(names.tobytes())
    rows = np.array([row for row, name in enumerate(known) if keeps(name[0])], dtype=np.int64)
    kept = orjson.dumps([known[row] for row in rows.tolist()])
    return np.frombuffer(kept, dtype=np.uint8), rows


def deriver_kept(arrays: Mapping[str, Array], prefix: str, keeps: Keeps) -> dict[str, Array]:
    """The part of a ``Deriver``'s snapshot, all of it below ``prefix``."""
    found = {name: array for name, array in arrays.items() if name.startswith(prefix)}
    for part in ("raw", "items"):
        names, rows = rows_kept(arrays[f"{prefix}{part}.series.names"], keeps)
        found[f"{prefix}{part}.series.names"] = names
        found |= columns_kept(arrays, f"{prefix}{part}.state.", rows)
    # Raw series say in which rows of the items their points go; ``rows`` are the items'.
    known = len(orjson.loads(arrays[f"{prefix}items.series.names"].tobytes()))
    places = np.full(known + 1, -1, dtype=np.int64)
    places[rows] = np.arange(len(rows))
    found[f"{prefix}raw.state.target"] = places[found[f"{prefix}raw.state.target"]]
    return found


def columns_kept(
    arrays: Mapping[str, Array], prefix: str, rows: NDArray[np.int64]
) -> dict[str, Array]:
    """These rows of the columns below ``prefix``."""
    return {name: array[rows] for name, array in arrays.items() if name.startswith(prefix)}


def as_bytes(value: Any) -> NDArray[np.uint8]:
    """JSON as snapshots keep it."""
    return np.frombuffer(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), dtype=np.uint8)
