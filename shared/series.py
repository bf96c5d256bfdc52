"""Rows for series: finds, for every sample of a batch, the row that holds its series' state.

A series is (host, item, labels), known by the hashes of the three (64 bits of BLAKE2 each): no
Python work for a sample of a known series. Batches that passed the gateway bring the hashes
along; of others each name is hashed once. All three hashes are kept and compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import orjson
from numpy.typing import NDArray

from shared import series_table
from shared.name_hashes import NameHashes
from shared.samples import SampleBatch

_FIRST_ROOM = 1024


class SeriesIndex:
    """All known series in order of arrival: the n-th has row n.

    At most ``limit`` are taken in: whoever invents names must not use up the memory.
    """

    def __init__(self, limit: int = 10_000_000) -> None:
        self._limit = limit
        self.names: list[tuple[str, str, str]] = []
        self._parts = np.empty((_FIRST_ROOM, 3), dtype=np.uint64)
        self._slots = np.full(2 * _FIRST_ROOM, -1, dtype=np.int64)
        self._hashes = NameHashes()

    def __len__(self) -> int:
        return len(self.names)

    def resolve(self, batch: SampleBatch, *, register: bool = True) -> NDArray[np.int64]:
        """The row of every sample's series; series not seen before get the next rows.

        -1 marks a sample whose series is one too many, or not known where none is registered.
        """
        size, used = len(batch), len(self.names)
        self._make_room(min(used + size, max(self._limit, used)))
        hosts, items, labels = batch.hashes or (
            self._hashes.of(batch.hosts),
            self._hashes.of(batch.items),
            self._hashes.of(batch.labels),
        )
        rows, new_at = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        now = series_table.resolve(
            hosts,
            items,
            labels,
            batch.host_code,
            batch.item_code,
            batch.label_code,
            self._slots,
            self._parts,
            used,
            self._limit if register else used,
            rows,
            new_at,
        )
        for at in new_at[: now - used]:
            self.names.append(
                (
                    batch.hosts[batch.host_code[at]],
                    batch.items[batch.item_code[at]],
                    batch.labels[batch.label_code[at]],
                )
            )
        return rows

    def _make_room(self, rows: int) -> None:
        if rows > len(self._parts):
            self._place(self._parts, rows)

    def _place(self, known: NDArray[np.uint64], rows: int) -> None:
        """Rebuild the table from these hashes, with capacity for so many rows."""
        room = _FIRST_ROOM
        while room < rows:
            room *= 2
        parts = np.empty((room, 3), dtype=np.uint64)
        parts[: len(known)] = known
        self._parts = parts
        self._slots = np.full(2 * room, -1, dtype=np.int64)
        series_table.place(self._parts, len(self.names), self._slots)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Forget all series but those of these rows, which get the numbers from 0 on."""
        self.names[:] = [self.names[row] for row in rows.tolist()]
        self._place(self._parts[rows], len(rows))

    def row_of(self, host: str, item: str, labels: str) -> int:
        """The row of one series, registered if it is new."""
        return int(self.resolve(_sample_of(host, item, labels))[0])

    def find(self, host: str, item: str, labels: str) -> int | None:
        """The row of one series; None for one that was never seen."""
        row = int(self.resolve(_sample_of(host, item, labels), register=False)[0])
        return row if row >= 0 else None

    def snapshot(self) -> dict[str, NDArray[np.uint8]]:
        """The names, as one array of bytes."""
        return {"names": np.frombuffer(orjson.dumps(self.names), dtype=np.uint8)}

    @classmethod
    def restored(
        cls, arrays: Mapping[str, NDArray[np.uint8]], limit: int = 10_000_000
    ) -> SeriesIndex:
        """The index whose ``snapshot`` was taken."""
        index = cls(limit)
        names = [(h, i, t) for h, i, t in orjson.loads(arrays["names"].tobytes())]
        index._make_room(len(names))
        for k in range(3):
            hashes = index._hashes.of([name[k] for name in names])
            index._parts[: len(names), k] = hashes
        index.names = names
        series_table.place(index._parts, len(names), index._slots)
        return index


def _sample_of(host: str, item: str, labels: str) -> SampleBatch:
    one, zero = np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.int64)
    return SampleBatch([host], [item], [labels], one, one, one, zero, zero.astype(np.float64))
