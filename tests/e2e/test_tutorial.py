"""The tutorial, from its first command to its last, as a stranger types them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documented import ROOT, blocks

STEPS = [block.text for block in blocks("sh") if block.page == ROOT / "docs/tutorial.md"]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """A home of its own, with this tree's commands on PATH, as after the first step."""
    # A socket's path has room for 107 bytes, and pytest's own directories are long.
    folder = Path(tempfile.mkdtemp(prefix="tutorial-"))
    programs = folder / "bin"
    programs.mkdir()
    for name, module in (("barograph", "shared.cli"), ("tshell", "services.client.tshell")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    found = {name: value for name, value in os.environ.items() if "BAROGRAPH" not in name}
    found |= {
        "HOME": str(home),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    yield found
    down = ["barograph", "down", "--state", str(home / "barograph-tutorial")]
    subprocess.run([programs / down[0], *down[1:]], env=found, check=False)
    shutil.rmtree(folder)


def test_every_command_of_the_tutorial_does_what_it_says(environment: dict[str, str]) -> None:
    setup, *steps = STEPS
    assert "make setup-embedded" in setup
    (activation,) = [line for line in setup.splitlines() if line.startswith(". ")]
    assert activation == ". .venv/bin/activate", "what this test puts on PATH instead"
    script = "\n".join(["set -eu", *steps])

    ran = subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    for sign in (
        "ready",
        "succeeded",
        "digits.keras",
        "people were notified",
        "resolved",
        "stopped",
    ):
        assert sign in ran.stdout + ran.stderr
    left = {path.name for path in Path(environment["HOME"]).iterdir()}
    assert not left & {"barograph-tutorial", "first-alarm", "first-model"}
