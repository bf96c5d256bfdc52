"""Rows for series: finds, for every sample of a batch, the row that holds its series' state.

A series is (host, item, labels). Each name is hashed once (64 bits of BLAKE2), the three hashes
are mixed into the series' id for all samples at once, and ids are found by binary search in a
sorted array: no Python work for a sample of a known series. All three hashes are kept and
compared, so that two series whose mixed ids agree are never taken for one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.samples import SampleBatch

_ODD = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64
)  # Odd constants with well spread bits, so that equal names in other places differ.
_HASHES_KEPT = 200_000


class SeriesIndex:
    """All series seen, in order of first sight: the n-th has row n.

    At most ``limit`` are taken in: whoever invents names must not use up the memory.
    """

    def __init__(self, limit: int = 10_000_000) -> None:
        self._limit = limit
        self.names: list[tuple[str, str, str]] = []
        self._parts = np.empty((0, 3), dtype=np.uint64)
        self._ids = np.empty(0, dtype=np.uint64)
        self._rows = np.empty(0, dtype=np.int64)
        self._hash_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def resolve(self, batch: SampleBatch) -> NDArray[np.int64]:
        """The row of every sample's series; series not seen before get the next rows.

        -1 marks a sample whose series is one too many, or cannot be told from another one (a
        hash collision).
        """
        parts = np.column_stack(
            [
                self._hashes(names)[codes]
                for names, codes in (
                    (batch.hosts, batch.host_code),
                    (batch.items, batch.item_code),
                    (batch.labels, batch.label_code),
                )
            ]
        )
        ids = _mix(parts)
        rows = self._find(ids)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown) and len(self.names) < self._limit:
            self._register(batch, parts, ids, unknown)
            rows = self._find(ids)
        same = (rows >= 0) & (self._parts[rows] == parts).all(axis=1)
        return rows if same.all() else np.where(same, rows, -1)

    def row_of(self, host: str, item: str, labels: str) -> int:
        """The row of one series, registered if it is new."""
        one = np.zeros(1, dtype=np.int32)
        zero = np.zeros(1, dtype=np.int64)
        batch = SampleBatch([host], [item], [labels], one, one, one, zero, zero.astype(np.float64))
        return int(self.resolve(batch)[0])

    def _hashes(self, names: list[str]) -> NDArray[np.uint64]:
        if len(self._hash_of) > _HASHES_KEPT:
            self._hash_of.clear()
        known = self._hash_of
        found = np.empty(len(names), dtype=np.uint64)
        for index, name in enumerate(names):
            value = known.get(name)
            if value is None:
                digest = blake2b(name.encode(), digest_size=8).digest()
                value = known[name] = int.from_bytes(digest, "little")
            found[index] = value
        return found

    def _find(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        if not len(self._ids):
            return np.full(len(ids), -1, dtype=np.int64)
        place = np.searchsorted(self._ids, ids)
        place[place == len(self._ids)] = 0
        return np.where(self._ids[place] == ids, self._rows[place], -1)

    def _register(
        self,
        batch: SampleBatch,
        parts: NDArray[np.uint64],
        ids: NDArray[np.uint64],
        unknown: NDArray[np.intp],
    ) -> None:
        # First occurrences, in the batch's order: rows must not depend on hash order.
        _, first = np.unique(ids[unknown], return_index=True)
        start = len(self.names)
        new = unknown[np.sort(first)][: self._limit - start]
        self.names.extend(
            (
                batch.hosts[batch.host_code[at]],
                batch.items[batch.item_code[at]],
                batch.labels[batch.label_code[at]],
            )
            for at in new
        )
        rows = np.arange(start, start + len(new), dtype=np.int64)
        order = np.argsort(ids[new])
        place = np.searchsorted(self._ids, ids[new][order])
        self._ids = np.insert(self._ids, place, ids[new][order])
        self._rows = np.insert(self._rows, place, rows[order])
        self._parts = np.concatenate([self._parts, parts[new]])

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
        if names:
            index._restore(names)
        return index

    def _restore(self, names: list[tuple[str, str, str]]) -> None:
        parts = np.column_stack([self._hashes([name[k] for name in names]) for k in range(3)])
        ids = _mix(parts)
        order = np.argsort(ids)
        self.names = names
        self._parts, self._ids, self._rows = parts, ids[order], order.astype(np.int64)


def _mix(parts: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = (parts * _ODD).sum(axis=1, dtype=np.uint64)
    return mixed ^ (mixed >> np.uint64(29))
