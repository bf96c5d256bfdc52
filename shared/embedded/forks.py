"""Asks the fork server for processes, which become children of this one."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.embedded.fork_server import PID
from shared.embedded.log_files import open_log
from shared.embedded.process import OwnedProcess

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.02
_END_S = 10.0


class Forks:
    """Starts processes that share what the fork server has loaded."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door

    def launch(self, module: str, *, log: Path, env: Mapping[str, str]) -> OwnedProcess:
        """Start ``python -m module`` with the environment ``env``.

        Raises:
            OSError: it could not be started.
        """
        read, write = os.pipe()
        with os.fdopen(write, "wb") as order:
            with open_log(log) as output, os.fdopen(read, "rb"):
                socket.send_fds(self._door, [b"."], [output.fileno(), read])
            answer = self._door.recv(PID.size, socket.MSG_WAITALL)
            if len(answer) < PID.size:
                raise OSError("the fork server has ended")
            child = _Adopted(*PID.unpack(answer))
            # The new process waits for its order, and ends without one: from here on it is owned.
            process = OwnedProcess.of(child, log)
            try:
                order.write(json.dumps([module, dict(env)]).encode())
                order.flush()
            except BaseException:
                process.kill()
                raise
        return process


@contextmanager
def forks(env: Mapping[str, str]) -> Iterator[Forks]:
    """A fork server with the environment ``env``, which loads modules while it is used.

    Raises:
        OSError: it could not be started.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-m", "shared.embedded.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=dict(env),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        _adopt(orphans=True)
        try:
            yield Forks(ours)
        finally:
            _adopt(orphans=False)
            ours.close()
            try:
                server.wait(_END_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _adopt(*, orphans: bool) -> None:
    """Make processes below this one, whose parents end, children of this one; or no longer."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0)


class _Adopted:
    """A child that another process has forked for this one, in the words of ``Popen``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._waiting = threading.Lock()
        self.poll()  # ChildProcessError, an OSError, if it was not adopted

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with self._waiting:
            if self._code is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    self._code = os.waitstatus_to_exitcode(status)
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(_POLL_S)
        return code

    def terminate(self) -> None:
        """Send SIGTERM while it runs."""
        with self._waiting:
            if self._code is None:
                os.kill(self.pid, signal.SIGTERM)
