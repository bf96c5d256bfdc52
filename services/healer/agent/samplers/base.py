"""The base of samplers: each reads a few items of this machine when it is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Reading:
    """One value, in the item's unit."""

    item: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Sampler(ABC):
    """Reads ``items``. Those that are rates need two calls: the first one begins the span."""

    items: ClassVar[tuple[str, ...]]
    is_rate: ClassVar[bool] = False

    @abstractmethod
    def sample(self) -> list[Reading]:
        """The values now; raises OSError or ValueError when they cannot be read."""


def share(part: float, whole: float) -> float:
    """Percent, within 0 and 100; nothing of nothing is 0."""
    return min(100.0, max(0.0, 100.0 * part / whole)) if whole > 0 else 0.0
