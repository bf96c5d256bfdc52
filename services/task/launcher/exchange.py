"""The launcher's end of the directory it shares with the program's container.

The user's program can write there, too: nothing read from it is trusted beyond the program's own
fate, no link is followed, and sizes are bounded.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from services.task.launcher.ground import Order, RunningProgram, Usage

log = structlog.get_logger(__name__)

_POLL_S = 0.05
_MAX_BYTES = 65_536
_MAX_USED = 1e15
"""A longer time or a larger number of bytes in a report is taken for a mistake."""
_EXIT_CODES = range(-64, 256)
"""The exit codes a program can end with; negative are signals."""


class Exchange:
    """Files by which launcher and program container communicate; see ``pod_program``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def tell(self, name: str, value: dict[str, Any]) -> None:
        """Write an order, whole or not at all."""
        temporary = self._directory / f".{name}"
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o644), "w") as file:
            json.dump(value, file)
        temporary.rename(self._directory / name)

    def heard(self, name: str) -> dict[str, Any] | None:
        """The other side's file, None before it has written it."""
        data = self._read(name, 0, _MAX_BYTES)
        if data is None:
            return None
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        return value if isinstance(value, dict) else {}

    def piece(self, number: int, offset: int, most: int) -> bytes | None:
        """Output from ``offset`` of a piece of the log; None when there is no such piece."""
        return self._read(f"log.{number:06d}", offset, most)

    def has_piece(self, number: int) -> bool:
        return (self._directory / f"log.{number:06d}").exists()

    def discard(self, number: int) -> None:
        """Delete a piece of the log that was read."""
        (self._directory / f"log.{number:06d}").unlink(missing_ok=True)

    def _read(self, name: str, offset: int, most: int) -> bytes | None:
        try:
            descriptor = os.open(
                self._directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError:
            return None
        try:
            return os.pread(descriptor, most, offset)
        except OSError:
            return b""
        finally:
            os.close(descriptor)


class Tail:
    """Copies the program's output from pieces on disk to a descriptor."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._number = self._offset = 0
        self._turn = threading.Lock()

    def carry(self, output: int) -> int:
        """Write what is new to ``output``; the number of bytes."""
        carried = 0
        with self._turn:
            while True:
                data = self._exchange.piece(self._number, self._offset, _MAX_BYTES)
                if data:
                    self._offset += len(data)
                    carried += len(data)
                    _write_all(output, data)
                elif self._exchange.has_piece(self._number + 1):
                    self._exchange.discard(self._number)
                    self._number, self._offset = self._number + 1, 0
                else:
                    return carried


class RemoteProgram:
    """One run of the program in the other container.

    Args:
        number: which run this is, from 1.
        lost: set when the other container has ended.
    """

    def __init__(
        self,
        exchange: Exchange,
        number: int,
        order: Order,
        lost: threading.Event,
        drained: Callable[[], None],
        ended: Callable[[RunningProgram], None],
    ) -> None:
        self._exchange, self._number, self._lost = exchange, number, lost
        self._drained, self._ended = drained, ended
        self._over = threading.Event()
        self.exit_code = -9
        self.oom = False
        self.witnessed = False
        self.fault = ""
        exchange.tell(
            f"run-{number}.json", {"argv": order.argv, "env": order.env, "cwd": str(order.cwd)}
        )
        threading.Thread(target=self._watch, name="program", daemon=True).start()

    def stop(self, grace_s: float) -> None:
        self._exchange.tell(f"stop-{self._number}.json", {"grace_s": grace_s})
        self._over.wait()

    def kill(self) -> None:
        self.stop(0.0)

    def used(self) -> Usage | None:
        """The other container's report of itself; the program could have written it, too."""
        used = self._exchange.heard("used.json") or {}
        seconds, memory = used.get("cpu_seconds"), used.get("memory_bytes")
        if not isinstance(seconds, int | float) or not isinstance(memory, int):
            return None
        if not (0 <= seconds < _MAX_USED and 0 <= memory < _MAX_USED):
            return None
        return Usage(float(seconds), memory)

    def _watch(self) -> None:
        try:
            self._await_end()
        except Exception:
            # Nobody else sees it; the main thread waits for the end, and this counts as one.
            log.exception("program_lost_sight_of", run=self._number)
        self._over.set()
        self._ended(self)

    def _await_end(self) -> None:
        while True:
            # Asked first: what was written until then is found in the next line.
            lost = self._lost.is_set()
            end = self._exchange.heard(f"ended-{self._number}.json")
            self._drained()
            if end is not None:
                self._believe(end)
            if end is not None or lost:
                return
            time.sleep(_POLL_S)

    def _believe(self, end: dict[str, Any]) -> None:
        code = end.get("exit_code")
        self.exit_code = code if isinstance(code, int) and code in _EXIT_CODES else 1
        self.oom = end.get("oom") is True
        fault = str(end.get("fault", ""))[:500]
        # Half a surrogate pair or a NUL could not be published, and with it not the job's end.
        self.fault = "".join(c if c.isprintable() else "?" for c in fault)
        self.witnessed = True


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
