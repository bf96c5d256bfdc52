"""Finds the series of a batch that fail, so that the others can be processed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

Series = tuple[str, str, str]
"""Machine, item and labels."""

MAX_TRIALS = 64
"""The largest number of trials; each costs a restore of the partition's state."""


class Rows:
    """The rows of an encoded batch by their series.

    Raises:
        ValueError: when ``body`` is no batch.
    """

    def __init__(self, body: bytes) -> None:
        # Arrow takes long to import, and most services never see a batch.
        import numpy as np

        from shared.samples import decode

        self._batch = decode(body, trusted=True)
        batch = self._batch
        codes = np.stack([batch.host_code, batch.item_code, batch.label_code], axis=1)
        unique, place = np.unique(codes, axis=0, return_inverse=True)
        self._place = place.reshape(-1)
        self.series: list[Series] = [
            (batch.hosts[host], batch.items[item], batch.labels[label])
            for host, item, label in unique.tolist()
        ]

    def only(self, chosen: Collection[Series]) -> bytes:
        """The batch with the rows of these series alone."""
        import numpy as np

        from shared.samples import encode

        chosen = set(chosen)
        wanted = np.array([series in chosen for series in self.series], dtype=bool)
        rows = self._batch.select(wanted[self._place])
        return encode(replace(rows, judged=self._batch.judged))

    def without(self, left_out: Collection[Series]) -> bytes:
        """The batch without the rows of these series."""
        return self.only(set(self.series).difference(left_out))


def poisonous(
    series: Sequence[Series], fails: Callable[[Sequence[Series]], bool]
) -> list[Series] | None:
    """The ``series`` for which ``fails`` is true; None if they are not found within the trials."""
    found: list[Series] = []
    waiting = [list(series)]
    trials = 0
    while waiting:
        part = waiting.pop()
        trials += 1
        if trials > MAX_TRIALS:
            return None
        if not fails(part):
            continue
        if len(part) == 1:
            found += part
            continue
        middle = len(part) // 2
        waiting += [part[middle:], part[:middle]]
    return found
