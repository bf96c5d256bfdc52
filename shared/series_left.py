"""Selects ended series that a partition forgets, so that new ones have room.

Containers, their mounts and interfaces bring series for a while and leave them behind. Time is the
partition's own clock without the pipeline's halts, so that a replay forgets the same at the same
place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_AFTER_MS = 30 * _DAY_MS
_WHEN_CROWDED_MS = _DAY_MS
"""A new series is worth more than the memory of one that ended once there is hardly room left."""
_CROWDED = 0.9
_WORTH_IT = 0.05
"""Forgetting moves the state of all series that stay: it must free so much of the room."""
_NEVER = np.iinfo(np.int64).min


def patience_ms(before_ms: int, now_ms: int, used: int, room: int) -> int | None:
    """Return how long a series may have sent nothing; None while it is not time to forget any.

    Args:
        before_ms: the running time before the last batch.
        now_ms: the running time now; once an hour of it is enough.
        used: how many series are known.
        room: how many there may be.
    """
    if now_ms // _HOUR_MS == before_ms // _HOUR_MS:
        return None
    return _WHEN_CROWDED_MS if used >= _CROWDED * room else _AFTER_MS


def left(
    heard_ms: NDArray[np.int64], kept: NDArray[np.bool_], now_ms: int, patience: int
) -> NDArray[np.int64] | None:
    """The rows that stay; None where forgetting the others is not worth it.

    Args:
        heard_ms: when each series was heard, or what has no time yet.
        kept: those that stay in any case.
        now_ms: the running time.
        patience: see ``patience_ms``.
    """
    heard_ms[heard_ms == _NEVER] = now_ms
    stays = kept | (now_ms - heard_ms <= patience)
    return np.flatnonzero(stays) if is_worth_it(stays) else None


def is_worth_it(stays: NDArray[np.bool_]) -> bool:
    """Return whether enough series are removed to make compaction worthwhile."""
    return int((~stays).sum()) > _WORTH_IT * len(stays)


def fed(
    targets: NDArray[np.int64], stays: NDArray[np.bool_], expected: NDArray[np.int32]
) -> NDArray[np.int64]:
    """The items that the raw series which stay still feed; both are changed to these numbers.

    Args:
        targets: (raw series, lanes) the item that each feeds, -1 for none; renumbered.
        stays: the raw series that stay.
        expected: how many raw series feed each item; without those that go.
    """
    gone, kept = targets[~stays], targets[stays]
    np.subtract.at(expected, gone[gone >= 0], 1)
    items = np.unique(kept[kept >= 0])
    places = np.full(len(expected) + 1, -1, dtype=np.int64)  # the last one is for no item
    places[items] = np.arange(len(items))
    targets[:] = places[targets]
    return items
