"""Ctrl-C while a program that people start is still loading its modules."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.embedded.stack import MODULES
from tests.signal_masks import settable

ROOT = Path(__file__).parents[3]
INTERRUPTED = {-signal.SIGINT, 128 + signal.SIGINT}
"""By the signal itself, or by an exit status that says so; a shell shows both as 130."""
PROGRAMS = {
    "barograph": "shared.cli",
    "tshell": "services.client.tshell",
    "demo": "examples.demo",
    "record": "services.healer.agent.record",
    **{name: module for name, module in MODULES.items() if name != "agent"},
    "agent": MODULES["agent"],
}
KEY = """
import os, signal, sys

class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
"""


def interrupted(folder: Path, module: str, at: set[str]) -> subprocess.CompletedProcess[str]:
    """The program's end when Ctrl-C comes as it begins to load the first of these modules."""
    (folder / "sitecustomize.py").write_text(KEY.format(modules=at))
    env = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", module]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_a_program_loads_ends_it_without_a_traceback(
    program: str, tmp_path: Path
) -> None:
    ended = interrupted(tmp_path, PROGRAMS[program], {"typer", "structlog", "pydantic", "rich"})
    assert (ended.returncode in INTERRUPTED, ended.stdout, ended.stderr) == (True, "", "")


@pytest.mark.slow
def test_ctrl_c_while_a_command_of_another_package_is_looked_for_ends_it_as_well(
    tmp_path: Path,
) -> None:
    ended = interrupted(tmp_path, "shared.cli", {"replay", "replay.cli"})
    assert (ended.returncode in INTERRUPTED, ended.stdout, ended.stderr) == (True, "", "")


COMMAND = """
import os, signal, sys
from {module} import {app}

@{app}.command("tidy")
def tidy():
    try:
        os.kill(os.getpid(), signal.{signal})
    finally:
        print("in order")

from {main} import main
sys.argv = ["it", "tidy"]
main()
"""
APPS = {
    "barograph": {"module": "shared.cli.application", "main": "shared.cli.application"},
    "tshell": {"module": "services.client.tshell.cli", "main": "services.client.tshell.app"},
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", APPS)
def test_a_command_puts_its_things_in_order_whichever_way_it_is_ended(
    command: str, number: signal.Signals
) -> None:
    code = COMMAND.format(app="app", signal=number.name, **APPS[command])
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (128 + number, "in order\n"), ended.stderr
    assert "Traceback" not in ended.stderr


ENTERED = "import signal; from shared import entry; {before}; entry.run('program')"


def entered(folder: Path, program: str, before: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(program)
    env = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", ENTERED.format(before=before or "pass")]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_program_puts_its_things_in_order_before_ctrl_c_ends_it(tmp_path: Path) -> None:
    ended = entered(
        tmp_path,
        "import os, signal\n"
        "def main():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally:\n"
        "        print('in order')\n",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "in order\n", "")


@pytest.mark.slow
def test_tests_in_a_scripts_background_hear_the_keyboard_and_so_do_programs_they_start() -> None:
    program = (
        "import signal, subprocess\n"
        "keys = (signal.SIGINT, signal.SIGQUIT)\n"
        "for number in keys: signal.signal(number, signal.SIG_IGN)\n"
        "import tests.conftest\n"
        "assert signal.SIG_IGN not in map(signal.getsignal, keys)\n"
        "subprocess.run(['grep', 'SigIgn', '/proc/self/status'], check=True)\n"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    ignored = settable(ran.stdout.split()[1])
    assert not ignored & sum(1 << (number - 1) for number in (signal.SIGINT, signal.SIGQUIT))


def test_a_program_that_was_started_with_ctrl_c_ignored_goes_on_ignoring_it(
    tmp_path: Path,
) -> None:
    pressed = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    ended = entered(
        tmp_path,
        f"{pressed}def main():\n    os.kill(os.getpid(), signal.SIGINT)\n    return 3\n",
        before="signal.signal(signal.SIGINT, signal.SIG_IGN)",
    )
    assert (ended.returncode, ended.stderr) == (3, "")
