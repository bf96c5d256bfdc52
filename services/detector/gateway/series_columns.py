"""The gateway's knowledge of each series, in columns by the series' number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.detector.gateway.names import Names
from shared.name_hashes import name_hash

TAKEN, IGNORED, FAULTY = 0, 1, 2
_COLUMNS = ("kind", "host", "item", "label_hash", "partition", "sender", "heard_s")


class SeriesColumns:
    """The series from 0 to ``len(self)``, with room for more.

    ``kind`` is TAKEN, IGNORED or FAULTY; ``host`` and ``item`` are numbers of ``hosts`` and
    ``items``, -1 where there is none; ``heard_s`` is when it came last; ``sender`` is the number of
    who sent it last, -1 where nobody was noted.
    """

    def __init__(self, room: int) -> None:
        self.kind = np.empty(room, dtype=np.int8)
        self.host = np.empty(room, dtype=np.int32)
        self.item = np.empty(room, dtype=np.int32)
        self.label_hash = np.empty(room, dtype=np.uint64)
        self.partition = np.empty(room, dtype=np.int32)
        self.sender = np.empty(room, dtype=np.int16)
        self.heard_s = np.empty(room, dtype=np.float64)
        self.labels: list[str] = []
        self.text_bytes = 0
        """The length of all labels that were ever put."""
        self.hosts, self.items = Names(), Names()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Memory of the columns, without the text of names."""
        columns: list[int] = [getattr(self, name).nbytes for name in _COLUMNS]
        return sum(columns)

    def put(self, number: int, kind: int, host: int, item: int, labels: str) -> None:
        """Set what is known of a series: the next one, or one that is there."""
        self.kind[number], self.host[number], self.item[number] = kind, host, item
        if number == len(self.labels):
            self.labels.append(labels)
        else:
            self.labels[number] = labels
        self.text_bytes += len(labels)
        self.label_hash[number] = name_hash(labels)

    def fit(self, room: int) -> None:
        """Make the columns that long, if they are shorter."""
        for name in _COLUMNS:
            old = getattr(self, name)
            if len(old) < room:
                new = np.empty(room, dtype=old.dtype)
                new[: len(old)] = old
                setattr(self, name, new)

    def kept(self, numbers: NDArray[np.intp], room: int) -> SeriesColumns:
        """Only the series with these numbers, which get new ones, and only their names."""
        size, found = len(numbers), SeriesColumns(room)
        found.labels = [self.labels[number] for number in numbers]
        found.text_bytes = sum(map(len, found.labels))
        for name in _COLUMNS:
            getattr(found, name)[:size] = getattr(self, name)[numbers]
        for column, known, new in (
            (found.host, self.hosts, found.hosts),
            (found.item, self.items, found.items),
        ):
            codes = column[:size]
            used, place = np.unique(codes[codes >= 0], return_inverse=True)
            for code in used:
                new.code(known[code])
            codes[codes >= 0] = place
        return found
