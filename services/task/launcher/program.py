"""The user's program as a process: started, watched, and ended with its descendants."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.task.cgroups import Cgroup
from services.task.launcher.ground import Usage
from services.task.launcher.logs import OURS
from services.task.processes import MARK
from shared.visible import visible

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_WATCH_S = 0.5
_HELPERS_S = 0.3
_MAX_NAMED, _MAX_COMMAND = 5, 100
_WRAPPER = Path(__file__).with_name("exec_program.py")


@dataclass(frozen=True)
class Command:
    """A program to run and its user; ``uid`` None means the launcher's own."""

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    uid: int | None
    memory: int
    """Bytes the program and all it starts may use together."""
    accounts: tuple[tuple[str, str], ...] = ()
    """Files that stand in for others before the program's eyes: what names its user."""


def protect_this_process() -> None:
    """Adopt orphaned descendants, and hide our memory from programs of the same user."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class Program:
    """One run of the program. Start it from the main thread only.

    The kernel's parent-death signal comes when the *thread* that started a process ends.
    """

    def __init__(
        self,
        command: Command,
        cgroup: Cgroup,
        output: int,
        ended: Callable[[Program], None],
    ) -> None:
        self._cgroup = cgroup
        self._command = command
        self._output = output
        self._stopped = self._over_memory = False
        self.exit_code = 0
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WRAPPER)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={MARK: command.env[MARK]},
        )
        stdin = self._process.stdin
        if stdin is not None:
            with suppress(BrokenPipeError):
                stdin.write(self._input())
                stdin.close()
        threading.Thread(target=self._wait, args=(ended,), name="program", daemon=True).start()

    @property
    def fault(self) -> str:
        """Always empty: a program that did not start shows why in its log and exit code."""
        return ""

    @property
    def witnessed(self) -> bool:
        """We are its parent."""
        return True

    @property
    def oom(self) -> bool:
        """True if it was ended for its memory."""
        return self._over_memory or self._cgroup.oom_killed()

    def stop(self, grace_s: float) -> None:
        """SIGTERM to the program, SIGKILL to all of it after the grace; returns when gone."""
        self._stopped = True
        deadline = time.monotonic() + grace_s
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """End the program and everything it started, wherever that went."""
        if not self._stopped and self._process.poll() is not None:
            self._say_left_running()
        while True:
            descendants = [p for p in psutil.Process().children(recursive=True) if _lives(p)]
            for process in descendants:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            _reap(except_pid=self._process.pid)
            if not descendants:
                break
            time.sleep(0.02)
        self._process.wait()

    def _say_left_running(self) -> None:
        """Name what goes on after the program's own end: what it would still write is lost.

        Helpers such as those of multiprocessing are about to end by themselves.
        """
        found = [p for p in psutil.Process().children(recursive=True) if _lives(p)]
        _, left = psutil.wait_procs(found, timeout=_HELPERS_S)
        commands = [text for text in map(_shown, left) if text]
        if commands:
            more = f" and {len(commands) - _MAX_NAMED} more" if len(commands) > _MAX_NAMED else ""
            named = ", ".join(commands[:_MAX_NAMED]) + more
            text = f"{OURS}ended what the program had left running: {named}\n"
            with suppress(OSError):
                os.write(self._output, text.encode())

    def used(self) -> Usage | None:
        """The sum over its processes; those that ended count where their parent waited."""
        seconds, memory = 0.0, 0
        for process in self._tree():
            # Whatever keeps us from measuring must not end the thread that waits for the end.
            with suppress(psutil.Error):
                seconds += sum(process.cpu_times()[:4])
                memory += process.memory_info().rss
        return Usage(seconds, memory) if memory else None

    def _tree(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def _input(self) -> bytes:
        command = self._command
        start = {
            "argv": command.argv,
            "env": command.env,
            "cwd": str(command.cwd),
            "uid": command.uid,
            "accounts": command.accounts,
            "parent": os.getpid(),
            "cgroups": self._cgroup.entrances,
        }
        return json.dumps(start).encode()

    def _wait(self, ended: Callable[[Program], None]) -> None:
        while True:
            try:
                self.exit_code = self._process.wait(_WATCH_S)
            except subprocess.TimeoutExpired:
                if not self._cgroup.memory:
                    self._check_memory()
            else:
                ended(self)
                return

    def _check_memory(self) -> None:
        """Stands in for a memory control group: the sum of resident memory."""
        used = self.used()
        if used is not None and used.memory_bytes > self._command.memory:
            self._over_memory = True
            self._process.kill()


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _shown(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return visible(" ".join(process.cmdline())[:_MAX_COMMAND]) or process.name()
    return ""


def _reap(except_pid: int) -> None:
    """Collect adopted orphans; the program itself is collected by who waits for it."""
    for process in psutil.Process().children():
        if process.pid != except_pid:
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
