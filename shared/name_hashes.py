"""64-bit BLAKE2 hashes of names, which identify series without comparing text."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_KEPT = 200_000


def name_hash(name: str) -> int:
    """The same on every machine, forever."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


class NameHashes:
    """Hashes lists of names, and caches recent ones."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, names: Sequence[str]) -> NDArray[np.uint64]:
        """(names,) hashes."""
        if len(self._known) > _KEPT:
            self._known.clear()
        known = self._known
        found = np.empty(len(names), dtype=np.uint64)
        for index, name in enumerate(names):
            value = known.get(name)
            if value is None:
                value = known[name] = name_hash(name)
            found[index] = value
        return found
