"""Settings read anew by a running stack: which services that concerns, and how it ended."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Protocol

import structlog
from pydantic import BaseModel, ValidationError

from shared.embedded.files import write_private
from shared.embedded.process import EmbeddedError
from shared.setting_names import SettingsError

log = structlog.get_logger(__name__)


class Reloaded(BaseModel):
    """The outcome of one reload."""

    services: tuple[str, ...] = ()
    """The services that were restarted."""
    problem: str = ""


class Reloading(Protocol):
    """The part of a stack that is needed here."""

    state: Path

    def reload(self) -> list[str]:
        """As ``Stack.reload``."""


class Reloads:
    """Reloads a stack's settings, one time after the other, and records each outcome in a file."""

    def __init__(self) -> None:
        self._stack: Reloading | None = None
        self._turn = threading.Lock()

    def of(self, stack: Reloading) -> None:
        """Reload the settings of this stack from now on."""
        self._stack = stack

    def reload(self) -> None:
        """Reload them; before the stack runs there is nothing to reload."""
        stack = self._stack
        if stack is None:
            return
        with self._turn:
            try:
                outcome = Reloaded(services=tuple(stack.reload()))
            except (EmbeddedError, SettingsError) as error:
                outcome = Reloaded(problem=str(error))
            log.info("settings_reloaded", **outcome.model_dump())
            write_private(outcome_file(stack.state), outcome.model_dump_json())


def outcome_file(state: Path) -> Path:
    """The file with the outcome of the last reload of the stack in this directory."""
    return state / "reloaded.json"


def read_outcome(state: Path) -> Reloaded | None:
    """The outcome of the last reload; None if there is none yet."""
    try:
        return Reloaded.model_validate(json.loads(outcome_file(state).read_text()))
    except (FileNotFoundError, ValueError, ValidationError):
        return None
