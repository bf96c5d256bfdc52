"""`barograph up`, `status`, `down`: it runs, and leaves nothing however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.embedded.stack import MODULES
from shared.embedded.stackfile import read_stack_file
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
_SLOW_S = 900


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


def test_a_killed_supervisor_takes_all_with_it_and_what_comes_up_again_leaves_no_trace(
    state: Path,
) -> None:
    up = barograph("up", state)
    assert up.returncode == 0, up.stderr
    status = barograph("status", state, "--json")
    assert json.loads(status.stdout)["ready"] == dict.fromkeys(MODULES, True)
    assert "already running" in barograph("up", state).stdout

    os.kill(read_stack_file(state).supervisor_pid, signal.SIGKILL)

    eventually(lambda: processes_of(state) == [], "nothing of it is left")
    again = barograph("up", state)
    assert again.returncode == 0, f"it does not start again on the same files: {again.stderr}"

    down = barograph("down", state)
    assert down.returncode == 0, down.stderr
    assert processes_of(state) == []


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
