"""Child processes that end with their parent, and loopback ports for them."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from shared.embedded.log_files import open_log
from shared.embedded.patience import Patience

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral range, so that an outgoing connection never takes a chosen port; the
# upper bound leaves room for servers that listen on a second port 10,000 above.
PORTS = range(10_300, 22_000)
"""The ports of which one is chosen where no other is asked for."""
_GIVEN: deque[int] = deque(maxlen=1_000)
"""The ports chosen last."""
_POLL_S = 0.05
_UMASK = 0o077
"""The umask of the servers, so that only their owner can read their files."""


class EmbeddedError(RuntimeError):
    """A server for this machine could not be started; the message says what to do."""


def free_ports(count: int, *, twin_offset: int = 0) -> list[int]:
    """Choose ``count`` different free loopback ports.

    With ``twin_offset`` the port that many above each is free, too. Ports are not held: start
    the server soon. Those of which the server may not have started yet are chosen last.
    """
    found: list[int] = []
    given = set(_GIVEN)
    for candidate in sorted(random.sample(PORTS, len(PORTS)), key=given.__contains__):
        wanted = {candidate, candidate + twin_offset}
        if all(is_free(port) for port in wanted):
            found.append(candidate)
        if len(found) == count:
            _GIVEN.extend(found)
            return found
    raise EmbeddedError(f"fewer than {count} free ports from {PORTS.start} to {PORTS.stop - 1}")


def is_free(port: int) -> bool:
    """Return whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Return whether something answers on a loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(
    ready: Callable[[], bool], timeout_s: float, what: str, *, alive: Callable[[], bool]
) -> None:
    """Wait for a condition; EmbeddedError when it takes too long or the process has ended.

    The seconds are those of an idle machine (see ``patience``).
    """
    patience = Patience(timeout_s)
    while not ready():
        if not alive():
            raise EmbeddedError(f"{what} ended while it was starting")
        if patience.is_over():
            raise EmbeddedError(f"{what} was not ready within {patience.waited_s:.0f} s")
        time.sleep(_POLL_S)


def past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """``no_proxy`` with loopback in it: a company's proxy does not reach this machine's servers."""
    named = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = ",".join(filter(None, (named, LOOPBACK, "localhost")))
    return {"no_proxy": hosts, "NO_PROXY": hosts}


class Child(Protocol):
    """A process that this one has started; ``subprocess.Popen`` is one."""

    pid: int

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code; ``subprocess.TimeoutExpired`` if too late."""
        ...

    def terminate(self) -> None:
        """Send SIGTERM while it runs."""
        ...


class OwnedProcess:
    """A child in its own process group, which ends with this process.

    The leash is a shell that reads from a pipe which only we hold open: when we are killed the
    pipe ends, and the shell kills the whole group. So nothing is left behind, even by kill -9.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        umask: int = _UMASK,
    ) -> None:
        with open_log(log) as output:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                umask=umask,
            )
        self._own(child, log)

    @classmethod
    def of(cls, child: Child, log: Path) -> Self:
        """A child that has been started already, in a group of its own, and writes to ``log``."""
        process = cls.__new__(cls)
        process._own(child, log)  # noqa: SLF001 - an instance of this class
        return process

    def _own(self, child: Child, log: Path) -> None:
        self._child = child
        self.log = log
        self._gone = False
        self._killing = threading.Lock()
        self._leash = subprocess.Popen(
            ["/bin/sh", "-c", 'cat >/dev/null; kill -9 "-$1"', "leash", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process and process-group id."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._child.poll()

    def alive(self) -> bool:
        return self.exit_code is None

    def stop(self, timeout_s: float = 20) -> None:
        """Send SIGTERM to the process, then kill the rest of its process group."""
        if self.alive():
            self._child.terminate()
            try:
                self._child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass  # killed with its group below
        self.kill()

    def kill(self) -> None:
        """Kill the whole group at once and forget the leash; nothing more the second time."""
        with self._killing:
            if not self._gone:
                self._gone = True
                self._kill_group()

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the group has ended by itself
        self._child.wait()
        self._release()

    def _release(self) -> None:
        if self._leash.poll() is None:
            os.killpg(self._leash.pid, signal.SIGKILL)
        self._leash.wait()
        if self._leash.stdin is not None:
            self._leash.stdin.close()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines it wrote, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
