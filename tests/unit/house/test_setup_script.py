"""The set-up interrupted with Ctrl-C, and begun where it cannot succeed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.strangers import open_way_to
from tests.waiting import eventually

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
PYTHON = """#!/bin/bash
case "$*" in
  *services.*.compiling) {kernels} ;;
  *compileall*) {modules} ;;
  *) exec {python} "$@" ;;
esac
"""
COMPUTE = "echo $$ >>pids; exec sleep 1000"
COMPUTE_AND_FAIL = (
    "trap 'echo Traceback >&2; exit 1' INT; echo $$ >>pids; while :; do sleep 0.1; done"
)
"""As `compileall` does: it says that it was interrupted and ends as after any fault."""


def checkout(folder: Path, *, kernels: str = "true", modules: str = "true") -> Path:
    """A checkout whose packages are installed already, with a Python that does as it is told."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", folder / "scripts")
    for package in ("examples", "replay", "services", "shared", "requirements", ".venv/bin"):
        (folder / package).mkdir(parents=True)
    (folder / "services" / "code.py").write_text("from shared.compiled import kernel\n")
    lock, project = folder / "requirements" / "embedded.txt", folder / "pyproject.toml"
    lock.write_text("")
    project.write_text("")
    stamp = hashlib.sha256(b"").hexdigest()
    (folder / ".venv" / ".setup-embedded").write_text(f"{stamp}-{folder / '.venv'}\n")
    python = folder / ".venv" / "bin" / "python"
    python.write_text(PYTHON.format(python=sys.executable, kernels=kernels, modules=modules))
    python.chmod(0o755)
    open_way_to(folder)
    open_way_to(folder.parent)
    return folder


def interrupted(folder: Path, processes: int) -> tuple[int, str, list[int]]:
    """The set-up's exit status, what it said, and which of what it started is still there."""
    with subprocess.Popen(
        ["bash", "scripts/setup.sh", "embedded"],
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as setup:

        def started() -> list[int]:
            file = folder / "pids"
            found = [int(line) for line in file.read_text().split()] if file.exists() else []
            return found if len(found) == processes else []

        pids = eventually(started, "what the set-up starts")
        os.killpg(setup.pid, signal.SIGINT)
        said, _ = setup.communicate()
    left = [pid for pid in pids if psutil.pid_exists(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return setup.returncode, said, left


def test_what_computes_in_the_background_ends_with_the_set_up(tmp_path: Path) -> None:
    code, said, left = interrupted(checkout(tmp_path / "a b", kernels=COMPUTE), 2)
    assert (code, left) == (130, [])
    assert said.splitlines() == [
        "setup: compiling the numerical kernels, two minutes of processor time"
    ]


def test_a_step_that_ends_as_after_a_fault_ends_the_set_up(tmp_path: Path) -> None:
    folder = checkout(tmp_path, modules=COMPUTE_AND_FAIL, kernels="touch went_on")
    code, said, left = interrupted(folder, 1)
    assert (code, said, left) == (130, "", [])
    assert not (folder / "went_on").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's jobs run as other users")
@pytest.mark.parametrize(
    ("closed", "mode", "said"),
    [
        ("closed", 0o700, "who cannot enter {}:"),
        ("closed/checkout", 0o711, "who cannot read what is in {}:"),
    ],
)
def test_a_checkout_that_users_of_jobs_cannot_reach_is_refused_at_once(
    closed: str, mode: int, said: str, tmp_path: Path
) -> None:
    folder = checkout(tmp_path / "closed" / "checkout")
    (tmp_path / closed).chmod(mode)
    (folder / "scripts" / "setup.sh").chmod(0o755 if closed == "closed" else 0o700)
    done = subprocess.run(
        ["bash", "scripts/setup.sh", "embedded"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "setup: jobs run as users of their own, " + said.format(tmp_path / closed)
    )
    assert "or run this as an ordinary user" in done.stderr
