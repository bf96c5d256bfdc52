"""Projects: who works in which, and which one is meant by who names none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.contracts import DEFAULT_PROJECT

EVERY = "*"
"""Stands for every project where projects are listed."""


@dataclass(frozen=True)
class Projects:
    """Those in which somebody sees and does things; all others are as if they were not."""

    names: frozenset[str] = frozenset()
    every: bool = False

    @classmethod
    def of(cls, listed: Iterable[str]) -> Projects:
        """The projects that a list of names means."""
        names = frozenset(listed)
        return ALL if EVERY in names else cls(names)

    def __contains__(self, project: str) -> bool:
        return self.every or project in self.names

    def only(self, project: str) -> Projects:
        """This one of them, or none at all; '' for all of them."""
        if not project:
            return self
        return Projects(frozenset({project})) if project in self else Projects()

    @property
    def listed(self) -> list[str]:
        """Their names, for people and for what is stored."""
        return [EVERY] if self.every else sorted(self.names)

    @property
    def usual(self) -> str:
        """The one that is meant by who names none; '' where that may be several."""
        if DEFAULT_PROJECT in self:
            return DEFAULT_PROJECT
        return next(iter(self.names)) if len(self.names) == 1 else ""


ALL = Projects(every=True)
NONE = Projects()
DEFAULT = Projects(frozenset({DEFAULT_PROJECT}))
