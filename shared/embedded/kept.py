"""Programs that the supervisor restarts when they end by themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from shared.embedded.process import EmbeddedError, OwnedProcess

log = structlog.get_logger(__name__)

WATCH_S = 0.25
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_HOPELESS_PAUSE_S = 4.0
"""Reached when a program has ended three times in a row."""
_STEADY_S = 60.0
_STOP_TIMEOUT_S = 30.0


class Program(Protocol):
    """A server or a service; its files and ports stay the same over a restart."""

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while the program runs and before it is started."""
        ...

    def start(self) -> None:
        """Start it.

        Raises:
            EmbeddedError: if it cannot be started.
        """
        ...

    def stop(self) -> None:
        """Stop it, or remove the rest of it if it has ended."""
        ...

    def alive(self) -> bool:
        """Return whether its process is running."""
        ...


class Kept:
    """Starts and stops a program, and restarts it with increasing delays when it ends."""

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self._program = program
        self._changing = threading.Lock()
        self._wanted = False
        self._pause_s = _FIRST_PAUSE_S

    @property
    def keeps_ending(self) -> bool:
        """True if it has ended repeatedly."""
        return self._pause_s >= _HOPELESS_PAUSE_S

    def start(self) -> None:
        """Start the program, as ``Program.start``."""
        with self._changing:
            self._wanted = True
            self._program.start()

    def stop(self) -> None:
        """Stop the program, as ``Program.stop``; it is not started again."""
        with self._changing:
            self._wanted = False
            self._program.stop()

    def restart(self) -> None:
        """Stop it in order and start it, unless it has been stopped for good."""
        with self._changing:
            if self._wanted:
                self._program.stop()
                self._program.start()

    def keep(self, stopping: threading.Event) -> None:
        """Start it again whenever it has ended, until ``stopping`` is set."""
        started = time.monotonic()
        while not stopping.wait(WATCH_S):
            if self._program.alive():
                if time.monotonic() - started > _STEADY_S:
                    self._pause_s = _FIRST_PAUSE_S
            elif not stopping.wait(self._pause_s):
                self._revive()
                self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
                started = time.monotonic()

    def _revive(self) -> None:
        with self._changing:
            # Another thread may have stopped or restarted it.
            if not self._wanted or self._program.alive():
                return
            code = self._program.exit_code
            log.warning("program_ended", program=self.name, code=code, paused_s=self._pause_s)
            try:
                self._program.stop()
                self._program.start()
            except EmbeddedError as error:
                log.warning("program_not_started", program=self.name, reason=str(error))
            except Exception:
                # A full disk, or a machine without room for a process, must not end the watching.
                log.exception("program_not_started", program=self.name)


class Service:
    """A service of the platform as a process of this machine."""

    def __init__(self, launch: Callable[[], OwnedProcess]) -> None:
        self._launch = launch
        self._process: OwnedProcess | None = None

    @property
    def process(self) -> OwnedProcess:
        """The process that was started last.

        Raises:
            EmbeddedError: before the first start.
        """
        if self._process is None:
            raise EmbeddedError("it has not been started")
        return self._process

    @property
    def exit_code(self) -> int | None:
        return self._process.exit_code if self._process else None

    def start(self) -> None:
        """Start it; whether it is ready, its health says."""
        self._process = self._launch()

    def stop(self) -> None:
        """Ask it to end, then kill it, with every process that it has started."""
        if self._process is not None:
            self._process.stop(_STOP_TIMEOUT_S)

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()
