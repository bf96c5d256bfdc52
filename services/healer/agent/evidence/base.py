"""The base of evidence collectors: functions that inspect the machine and return a table.

A new one is one file, here or in a package of one's own, with a function of ``Asked`` decorated
with ``@evidence_collector``. It runs as the agent's user, within the seconds that the question
leaves; what fails or finds nothing is left out of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from services.healer.agent.evidence.found import Found, Wait
from shared.registry import Registry


@dataclass(frozen=True)
class Asked:
    """A request for evidence about one family of items of this machine."""

    family: str
    """The item's family: cpu, memory, disk, net, ..."""
    path: str
    """The mount point of a disk; empty for anything else."""
    wait: Wait


@dataclass(frozen=True)
class EvidenceCollector:
    """An evidence collector and the families of items to which it applies."""

    families: tuple[str, ...]
    """The families to which it applies; empty: all."""
    look: Callable[[Asked], Found]


Look = TypeVar("Look", bound=Callable[[Asked], Found])
REGISTRY: Registry[EvidenceCollector] = Registry(
    "evidence collector", "services.healer.agent.evidence", "barograph.evidence"
)


def evidence_collector(name: str, *families: str) -> Callable[[Look], Look]:
    """Register a function under ``name``, for these families of items or for all."""

    def register(look: Look) -> Look:
        REGISTRY.add(name, EvidenceCollector(families, look), module=look.__module__)
        return look

    return register


def collectors(family: str) -> list[EvidenceCollector]:
    """The collectors for a family: its own first, then those that apply to every family."""
    found = REGISTRY.all().values()
    own = [each for each in found if family in each.families]
    return own + [each for each in found if not each.families]
