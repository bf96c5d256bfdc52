"""The base of remediations and their registry: settings as fields, recorded steps.

A new remediation is one file, here or in a package of your own: a frozen class decorated with
``@remediation("its-name")``. Most derive from ``stepwise.Stepwise``. The suite
``tests/conformance/test_remediations.py`` runs on every registered one.
"""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.contracts import SeriesRef
from shared.contracts.remediation import RemediationStep
from shared.registry import Registry
from shared.setting_names import faults

_MAX_COMMAND = 1000


@dataclass(frozen=True)
class Step:
    """Something about to be done to one target, described well enough to tell later whether it
    was done: by device and inode, for instance.
    """

    action: str
    target: str
    freed_bytes: int = 0
    identity: str = ""
    diff: str = ""
    command: str = ""

    def is_among(self, done: Collection[tuple[str, str]]) -> bool:
        """Return whether these actions and targets, as they are answered with, name this step."""
        return (self.action, _shown(self.target)) in done

    def reported(self, error: str = "") -> RemediationStep:
        """The step as it is answered with; what failed freed nothing."""
        freed = 0 if error else self.freed_bytes
        return RemediationStep(
            action=self.action,
            target=_shown(self.target),
            freed_bytes=freed,
            error=error,
            identity=_shown(self.identity),
            diff=_shown(self.diff)[:500],
            command=self.command if pasteable(self.command) else "",
        )


def pasteable(command: str) -> bool:
    """Return whether a person can paste it: whole, on one line, every character seen as it is.

    A command that is cut may end within a quote, and the shell then reads the next line's file
    name as a command; so open quotes are refused, too, whoever wrote the command.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    return bool(words) and len(command) <= _MAX_COMMAND and command.isprintable()


def _shown(text: str) -> str:
    """File names are bytes; what is not UTF-8 in them must not make an answer unreadable."""
    return os.fsencode(text).decode(errors="backslashreplace")


class Stopped(Exception):
    """The kill switch is on: no further step may be executed; the text says who used it."""


class StepFailed(Exception):
    """A step failed for the given reason; the others are still tried."""


class Journal(Protocol):
    """The log in which a remediation records every step: durably before it, and after it."""

    def intend(self, step: Step) -> None:
        """The step is about to be done; when this returns it is on the disk.

        Raises Stopped when it may not be done any more.
        """

    def done(self, step: Step) -> None:
        """The step was done."""

    def failed(self, step: Step, error: str) -> None:
        """The step was not done, and why."""


@dataclass(frozen=True)
class Outcome:
    """The steps that a run executed, or would execute in a dry run."""

    succeeded: bool
    """True unless it could not be tried at all, or every step failed."""
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
    PLACE: ClassVar[Literal["node", "cluster"]] = "node"
    """The executor: the machine's agent, or the healer through the Kubernetes API."""
    SETTLE_S: ClassVar[float] = 0
    """The least number of seconds until the item can show an effect."""
    UNDOABLE: ClassVar[bool] = False
    HELPS: ClassVar[str] = ""
    """The series against whose alarms it can be tried, for the page about it."""
    RISKS: ClassVar[tuple[str, ...]] = ()
    """The ways in which it can go wrong, for the page about it."""

    @abstractmethod
    def run(
        self,
        series: SeriesRef,
        *,
        dry_run: bool,
        journal: Journal,
        only: Collection[str] | None = None,
    ) -> Outcome:
        """Repair what ``series`` complains about; safe to call again after a crash.

        With ``dry_run`` nothing is changed and nothing noted. With ``only`` no step is done whose
        identity is not among these: the plan that somebody approved. Raises OSError only when
        nothing could be tried; the failure of a single step is a part of the outcome.
        """

    def go_on(
        self,
        series: SeriesRef,
        done: Collection[tuple[str, str]],
        *,
        journal: Journal,
        only: Collection[str] | None = None,
    ) -> Outcome:
        """Do what a run that a crash ended has left to do; ``done``: its actions and targets."""
        del done  # a file that was deleted is not found again
        return self.run(series, dry_run=False, journal=journal, only=only)

    @abstractmethod
    def happened(self, step: Step) -> bool:
        """Return whether a step that was intended when a crash came has been done."""

    def undo(self, step: Step) -> None:
        """Take a done step back; harmless when that was done before.

        Raises StepFailed or OSError when it cannot be.
        """
        raise StepFailed(f"{self.NAME} cannot be taken back")

    @classmethod
    def target(cls, series: SeriesRef) -> str:
        """The target as a key for leases: the machine unless the class says otherwise."""
        return series.host


_R = TypeVar("_R", bound=type[Remediation])
REGISTRY: Registry[type[Remediation]] = Registry(
    "remediation", "services.healer.remediations", "barograph.remediations"
)


def remediation(name: str) -> Callable[[_R], _R]:
    """Register a remediation under ``name``; two of one name are an error."""

    def register(cls: _R) -> _R:
        cls.NAME = name
        REGISTRY.add(name, cls)
        return cls

    return register


def registered() -> dict[str, type[Remediation]]:
    """Every remediation class by name, in alphabetical order."""
    return REGISTRY.all()


def make(name: str, settings: dict[str, Any] | None = None) -> Remediation:
    """The remediation ``name`` with ``settings``.

    Raises KeyError naming what is registered, pydantic's ValidationError for bad settings.
    """
    return REGISTRY.get(name)(**(settings or {}))


def checked(allowed: dict[str, dict[str, Any]], place: str) -> dict[str, dict[str, Any]]:
    """Settings by remediation, if all can be made and act in ``place``; else ValueError, why."""
    for name, fields in allowed.items():
        try:
            made = make(name, fields)
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        except ValidationError as error:
            found = faults(REGISTRY.get(name), error)
            raise ValueError(f"{name}: {'; '.join(found)}") from None
        if place != made.PLACE:
            owner = "the healer's" if made.PLACE == "cluster" else "the machine's agent's"
            raise ValueError(f"{name} is {owner} to allow")
    return allowed
