"""`barograph up`, `status`, `down`: it runs, and leaves nothing however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from shared.embedded.stack import MODULES
from shared.embedded.stackfile import read_stack_file

ROOT = Path(__file__).parents[2]
_SLOW_S = 300


def barograph(command: str, state: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shared.cli", command, "--state", str(state), *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_SLOW_S,
        check=False,
    )


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    barograph("down", tmp_path)


def test_it_comes_up_ready_and_goes_down_without_a_trace(state: Path) -> None:
    up = barograph("up", state)
    assert up.returncode == 0, up.stderr

    status = barograph("status", state, "--json")
    assert json.loads(status.stdout)["ready"] == dict.fromkeys(MODULES, True)
    again = barograph("up", state)
    assert "already running" in again.stdout

    down = barograph("down", state)
    assert down.returncode == 0, down.stderr
    assert processes_of(state) == []


def test_a_killed_supervisor_takes_everything_with_it(state: Path) -> None:
    assert barograph("up", state).returncode == 0
    supervisor = read_stack_file(state).supervisor_pid

    os.kill(supervisor, signal.SIGKILL)

    assert eventually(lambda: processes_of(state) == [])
    assert barograph("up", state).returncode == 0, "and it starts again on the same files"


def eventually(condition: Callable[[], bool], timeout_s: float = 30) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def processes_of(state: Path) -> list[list[str]]:
    """Command lines of living processes that name the state directory or have it in their env."""
    found = []
    for process in psutil.process_iter(["cmdline", "status", "pid"]):
        if process.info["pid"] == os.getpid() or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        try:
            environment = " ".join(process.environ().values())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        command = process.info["cmdline"] or []
        if str(state) in environment or any(str(state) in part for part in command):
            found.append(command)
    return found
