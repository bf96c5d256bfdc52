"""The machine's part of the safety envelope: the kill switch between steps, and fences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from services.healer.agent.records import FENCES, HALTS, Fence
from shared.store import Records


class Unit(Protocol):
    """A transaction over the agent's records."""

    @property
    def records(self) -> Records: ...


class Envelope:
    """Checked before a command and before each of its steps; its state survives a crash."""

    def __init__(self, unit: Callable[[], AbstractContextManager[Unit]]) -> None:
        self._unit = unit

    def stopped(self, host: str) -> str:
        """Return who threw the kill switch, and why; empty when nobody did."""
        with self._unit() as unit:
            halts = unit.records.find(HALTS, limit=1)
        if not halts:
            return ""
        return f"{halts[0].by}" + (f" ({halts[0].reason})" if halts[0].reason else "")

    def late(self, target: str, fence: int) -> bool:
        """Return whether a newer lease's order was seen; remembers this one otherwise."""
        if not fence:
            return False
        with self._unit() as unit:
            known = unit.records.get(FENCES, target)
            if known is not None and fence < known.fence:
                return True
            unit.records.put(FENCES, Fence(target=target, fence=fence))
        return False
