"""Runs the user's program in a pod's main container, in whatever image that is.

The launcher, a container of its own beside this one, writes orders into a directory both see; this
script obeys and writes what happened. It is copied there, and run by the image's own Python:
so nothing but the standard library of Python 3.8 may be used, and nothing of the platform.

    run-N.json      run this: argv, env, cwd            (from the launcher)
    started-N       it runs
    ended-N.json    exit_code, oom; all its output is in log.*
    stop-N.json     grace_s: end run N                  (from the launcher)
    log.000000 ...  its output, in pieces; the launcher deletes what it has read
    used.json       cpu_seconds so far, memory_bytes now, over all processes of this container
    terminated      Kubernetes asked this container to end
    leave.json      exit_code: end now, with this code  (from the launcher)
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

_POLL_S = 0.05
_MEASURE_S = 1.0
_PIECE = 4 * 2**20
_MAX_PIECES = 64
_HELPERS_S = 0.3
_MAX_NAMED, _MAX_COMMAND = 5, 100
_DROPPED = ("BAROGRAPH_",)
_IDENTITY = "/var/run/secrets/kubernetes.io/serviceaccount/token"
"""There where the job has a service account; then it needs the API server's address, too."""
_OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


class Output:
    """Copies the program's output to pieces on disk and to this container's own log."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._number = 0
        self._file = self._open(0)

    def _open(self, number: int) -> BinaryIO:
        path = os.path.join(self._directory, f"log.{number:06d}")
        return open(path, "ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Write to both; a full disk costs these lines, and not the program, which goes on."""
        with contextlib.suppress(OSError):
            os.write(1, data)
        with contextlib.suppress(OSError):
            self._file.write(data)
            self._turn_over()

    def _turn_over(self) -> None:
        if self._file.tell() >= _PIECE:
            following = self._open(self._number + 1)
            self._file.close()
            self._number += 1
            self._file = following
            # The launcher cannot store it that fast: the program waits, like at any full pipe.
            while len([n for n in os.listdir(self._directory) if n[:4] == "log."]) > _MAX_PIECES:
                time.sleep(_POLL_S)

    def copy(self, source: int, ended: threading.Event) -> None:
        """Copy until the pipe is closed, or the program is gone and the pipe is empty."""
        while True:
            if not select.select([source], [], [], _POLL_S)[0]:
                if ended.is_set():
                    break
                continue
            data = os.read(source, 65536)
            if not data:
                break
            self.write(data)
        os.close(source)


class Run:
    """One run of the program."""

    def __init__(self, number: int, order: dict[str, Any], output: Output) -> None:
        self.number = number
        self.code: int | None = None
        self.deadline: float | None = None
        self._output = output
        self._ooms = _ooms()
        self._gone = threading.Event()
        source, sink = os.pipe()
        dropped = _DROPPED if os.path.exists(_IDENTITY) else (*_DROPPED, "KUBERNETES_")
        env = {n: v for n, v in os.environ.items() if not n.startswith(dropped)}
        # The image knows best where its programs and libraries are.
        env.update((n, v) for n, v in order["env"].items() if n != "PATH" or "PATH" not in env)
        self._process = subprocess.Popen(
            [sys.executable, *order["argv"]],
            cwd=order["cwd"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
        self.pid = self._process.pid
        os.close(sink)
        self._copying = threading.Thread(target=output.copy, args=(source, self._gone))
        self._copying.start()

    def reaped(self, status: int) -> None:
        """The program ended: end what it started, then all its output is there."""
        self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        self._process.returncode = self.code
        if self.deadline is None and (left := _left_running(self.pid)):
            self._output.write(
                f"[barograph] ended what the program had left running: {left}\n".encode()
            )
        _kill_others(self.pid)
        self._gone.set()
        self._copying.join()

    def stop(self, grace_s: float) -> None:
        if self.deadline is None:
            self.deadline = time.monotonic() + grace_s
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill_when_due(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    @property
    def oom(self) -> bool:
        return self.code == -signal.SIGKILL and _ooms() > self._ooms


class Wrapper:
    """Executes the orders in ``directory`` until one of them ends it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._output = Output(directory)
        self._run: Run | None = None
        self._next = 1
        self._measured = 0.0
        self._untold: list[tuple[str, dict[str, Any]]] = []
        signal.signal(signal.SIGTERM, lambda *_: self._write("terminated", {}))

    def serve(self) -> int:
        """Returns the exit code to leave with."""
        while True:
            self._reap()
            self._tell()
            leave = self._read("leave.json")
            if leave is not None:
                self._end()
                return int(leave["exit_code"]) % 256
            self._obey()
            self._measure()
            time.sleep(_POLL_S)

    def _obey(self) -> None:
        run = self._run
        if run is not None:
            stop = self._read(f"stop-{run.number}.json")
            if stop is not None:
                run.stop(stop["grace_s"])
            run.kill_when_due()
            return
        order = self._read(f"run-{self._next}.json")
        if order is None:
            return
        number, self._next = self._next, self._next + 1
        try:
            self._run = Run(number, order, self._output)
        except OSError as error:
            fault = f"the program cannot be started: {error}"
            self._tell(f"ended-{number}.json", {"exit_code": 127, "oom": False, "fault": fault})
        else:
            self._tell(f"started-{number}", {})

    def _measure(self) -> None:
        """Say now and then what all processes of this container use."""
        if self._run is not None and time.monotonic() >= self._measured + _MEASURE_S:
            self._measured = time.monotonic()
            # A disk that is full for a moment costs a measurement, not the program.
            with contextlib.suppress(OSError):
                self._write("used.json", _used())

    def _reap(self) -> None:
        """Everybody's orphans are ours where this is the container's first process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._run
            if run is not None and pid == run.pid:
                run.reaped(status)
                self._run = None
                ended = {"exit_code": run.code, "oom": run.oom, "fault": ""}
                self._tell(f"ended-{run.number}.json", ended)

    def _end(self) -> None:
        if self._run is not None:
            self._run.stop(0)
        while self._run is not None:
            self._run.kill_when_due()
            self._reap()
            time.sleep(_POLL_S)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            with open(os.path.join(self._directory, name)) as file:
                value: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return None
        return value

    def _tell(self, name: str = "", value: dict[str, Any] | None = None) -> None:
        """Write what happened, in order; while the disk is full it waits, and the program runs."""
        if name:
            self._untold.append((name, value or {}))
        with contextlib.suppress(OSError):
            while self._untold:
                self._write(*self._untold[0])
                del self._untold[0]

    def _write(self, name: str, value: dict[str, Any]) -> None:
        path = os.path.join(self._directory, name)
        with open(path + ".tmp", "w") as file:
            json.dump(value, file)
        os.replace(path + ".tmp", path)


def _left_running(group: int) -> str:
    """Say what goes on after the program's own end: what it would still write is lost.

    Helpers such as those of multiprocessing are about to end by themselves.
    """
    deadline = time.monotonic() + _HELPERS_S
    while True:
        commands = [*_commands(group)]
        if not commands or time.monotonic() > deadline:
            more = f" and {len(commands) - _MAX_NAMED} more" if len(commands) > _MAX_NAMED else ""
            return ", ".join(commands[:_MAX_NAMED]) + more
        time.sleep(_POLL_S)


def _commands(group: int) -> Iterator[str]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{name}/stat") as file:
                # Behind the name, which may hold anything: state, parent, group.
                fields = file.read().rpartition(")")[2].split()
            everybody = os.getpid() == 1 and name != "1"
            if (everybody or int(fields[2]) == group) and fields[0] not in "ZX":
                with open(f"/proc/{name}/cmdline", errors="replace") as file:
                    words = file.read(_MAX_COMMAND).replace("\0", " ").strip()
                yield "".join(c if c.isprintable() else "?" for c in words) or f"process {name}"


def _kill_others(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def _used() -> dict[str, float]:
    """Seconds of processors so far and bytes held now, over every process that can be seen."""
    ticks = pages = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if name.isdigit():
                with open(f"/proc/{name}/stat") as file:
                    # Behind the name, which may hold anything: state, then numbers.
                    fields = file.read().rpartition(")")[2].split()
                ticks += sum(int(field) for field in fields[11:15])
                pages += int(fields[21])
    return {
        "cpu_seconds": ticks / os.sysconf("SC_CLK_TCK"),
        "memory_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


def _ooms() -> int:
    """Return how often the kernel ended somebody here for memory."""
    for name in _OOM_FILES:
        with contextlib.suppress(OSError), open(name) as file:
            for line in file:
                word = line.split()
                if word[0] == "oom_kill":
                    return int(word[1])
    return 0


if __name__ == "__main__":
    sys.exit(Wrapper(sys.argv[1]).serve())
