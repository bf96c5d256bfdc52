"""Settings read anew by a running stack: which services that concerns, and how it ended."""

from __future__ import annotations

import json
import os
import signal
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

    @property
    def config(self) -> Path | None:
        """The file with the settings, as ``Stack.config``."""

    def reload(self, config: Path | None) -> list[str]:
        """Restart the services whose settings changed, as ``Stack.reload``."""


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
                config = _asked_config(stack.state, stack.config)
                outcome = Reloaded(services=tuple(stack.reload(config)))
            except (EmbeddedError, SettingsError) as error:
                outcome = Reloaded(problem=str(error))
            log.info("settings_reloaded", **outcome.model_dump())
            write_private(_outcome_file(stack.state), outcome.model_dump_json())


def ask_reload(state: Path, pid: int, config: str) -> None:
    """Ask the supervisor of the stack in this directory to reload it.

    Args:
        state: the stack's directory.
        pid: its supervisor.
        config: the file whose settings count from now on, empty for none. It may have been created,
            removed or named since the stack was started.
    """
    _outcome_file(state).unlink(missing_ok=True)
    write_private(_request_file(state), json.dumps({"config": config}))
    os.kill(pid, signal.SIGHUP)


def _asked_config(state: Path, before: Path | None) -> Path | None:
    """The file asked for; without a request, as for a signal sent by hand, that of before."""
    try:
        named = json.loads(_request_file(state).read_text())["config"]
    except FileNotFoundError:
        return before
    _request_file(state).unlink()
    return Path(named) if named else None


def _request_file(state: Path) -> Path:
    return state / "reload.json"


def _outcome_file(state: Path) -> Path:
    return state / "reloaded.json"


def read_outcome(state: Path) -> Reloaded | None:
    """The outcome of the last reload; None if there is none yet."""
    try:
        return Reloaded.model_validate(json.loads(_outcome_file(state).read_text()))
    except (FileNotFoundError, ValueError, ValidationError):
        return None
