"""What a remediation is: settings as fields, one method that repairs, steps noted as it goes.

A new remediation is one file here: a frozen class with ``run`` and ``happened``, decorated with
``@remediation("its-name")``. The suite ``tests/conformance/test_remediations.py`` runs on every
registered one.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from shared.contracts import SeriesRef
from shared.contracts.alerts import RemediationStep


@dataclass(frozen=True)
class Step:
    """Something about to be done to one target, described well enough to tell later whether it
    was done: by device and inode, for instance.
    """

    action: str
    target: str
    freed_bytes: int = 0
    identity: str = ""

    def reported(self, error: str = "") -> RemediationStep:
        """The step as it is answered with; what failed freed nothing."""
        freed = 0 if error else self.freed_bytes
        # File names are bytes; what is not UTF-8 in them must not make the answer unreadable.
        shown = os.fsencode(self.target).decode(errors="backslashreplace")
        return RemediationStep(action=self.action, target=shown, freed_bytes=freed, error=error)


class Journal(Protocol):
    """Where a remediation notes every step: before it, durably, and after it."""

    def intend(self, step: Step) -> None:
        """The step is about to be done; when this returns it is on the disk."""

    def done(self, step: Step) -> None:
        """The step was done."""

    def failed(self, step: Step, error: str) -> None:
        """The step was not done, and why."""


@dataclass(frozen=True)
class Outcome:
    """What a run did, or in a dry run would do."""

    succeeded: bool
    """False when it could not be tried at all, or when every step failed."""
    steps: tuple[RemediationStep, ...] = ()
    detail: str = ""

    @property
    def freed_bytes(self) -> int:
        """Bytes of the steps that did not fail."""
        return sum(step.freed_bytes for step in self.steps if not step.error)


class Remediation(BaseModel, ABC):
    """Base of all remediations; an instance holds settings only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    NAME: ClassVar[str] = ""

    @abstractmethod
    def run(self, series: SeriesRef, *, dry_run: bool, journal: Journal) -> Outcome:
        """Repair what ``series`` complains about; safe to call again after a crash.

        With ``dry_run`` nothing is changed and nothing noted. Raises OSError only when nothing
        could be tried; the failure of a single step is a part of the outcome.
        """

    @abstractmethod
    def happened(self, step: Step) -> bool:
        """Whether a step that was intended when a crash came has been done."""


_R = TypeVar("_R", bound=type[Remediation])
_REGISTRY: dict[str, type[Remediation]] = {}


def remediation(name: str) -> Callable[[_R], _R]:
    """Register a remediation under ``name``; two of one name are an error."""

    def register(cls: _R) -> _R:
        if name in _REGISTRY:
            msg = f"two remediations are named {name!r}"
            raise ValueError(msg)
        cls.NAME = name
        _REGISTRY[name] = cls
        return cls

    return register


def registered() -> dict[str, type[Remediation]]:
    """Every remediation class by name, in alphabetical order."""
    return dict(sorted(_REGISTRY.items()))


def make(name: str, settings: dict[str, Any] | None = None) -> Remediation:
    """The remediation ``name`` with ``settings``.

    Raises KeyError naming what is registered, pydantic's ValidationError for bad settings.
    """
    if name not in _REGISTRY:
        msg = f"no remediation {name!r}; there are {', '.join(registered())}"
        raise KeyError(msg)
    return _REGISTRY[name](**(settings or {}))
