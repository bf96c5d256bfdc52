"""Adds deltas up to totals since this gateway first saw the series."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

import orjson


class Totals:
    """Totals of at most ``most`` series; the least recently seen series is evicted.

    A series that begins again, here or after a restart, is read as a counter that was reset.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # By a digest: what a series takes here does not grow with the length of its labels.
        self._known: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, labels: Mapping[str, str], time_ms: int, delta: float) -> float | None:
        """The total with this delta; None when it is no later than the one before.

        What a sender repeats since it heard no answer must not count twice. A sum beyond what a
        double holds begins again: it could never come down again.
        """
        key = blake2b(
            orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS), digest_size=16
        ).digest()
        before = self._known.get(key)
        if before is not None and time_ms <= before[0]:
            return None
        total = delta if before is None else before[1] + delta
        if not math.isfinite(total):
            total = delta
        self._known[key] = (time_ms, total)
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return total
