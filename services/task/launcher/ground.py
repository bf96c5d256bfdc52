"""The ground of a launcher: this machine, or the containers of a pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.task.launcher.environment import Places
from shared.contracts import PodExited


@dataclass(frozen=True)
class Order:
    """A program to run: arguments after the interpreter, the whole environment, the directory."""

    argv: list[str]
    env: dict[str, str]
    cwd: Path


@dataclass(frozen=True)
class Usage:
    """The resource use of a program and its descendants: CPU seconds so far, bytes held now."""

    cpu_seconds: float
    memory_bytes: int


class RunningProgram(Protocol):
    """One run of the user's program."""

    exit_code: int

    @property
    def oom(self) -> bool:
        """True if it was ended for its memory."""

    @property
    def fault(self) -> str:
        """Return why it could not even be started, '' when it was."""

    @property
    def witnessed(self) -> bool:
        """True if its end was seen; otherwise ``exit_code`` is a guess."""

    def stop(self, grace_s: float) -> None:
        """SIGTERM, after the grace SIGKILL to all of it; returns when gone."""

    def kill(self) -> None:
        """End it and everything it started."""

    def used(self) -> Usage | None:
        """The program's resource use; None if unknown."""


class Ground(Protocol):
    """Prepares and runs the program of one incarnation."""

    notes: list[str]
    """The part of the request that could not be honoured, in words."""
    sees_all: bool
    """True if it knows why it is to end; a pod does not."""
    owner: int | None
    """The user whose files count as the program's; None: everybody's."""

    def broker_url(self) -> str:
        """The broker's URL as it is now, with its credential in it."""

    def record(self, port: int) -> None:
        """Note that this incarnation has begun, and the port that it holds."""

    def prepare(self) -> tuple[Places, Path]:
        """The program's directories and its main file; raises package.Unusable."""

    def start(
        self, order: Order, output: int, ended: Callable[[RunningProgram], None]
    ) -> RunningProgram:
        """Run the program, its output going to the descriptor ``output``."""

    def save(self, patience_s: float) -> None:
        """Store files that would be lost; raises StorageError after ``patience_s``."""

    def close(self, end: PodExited | None) -> None:
        """Clean up after the end was published and confirmed."""
