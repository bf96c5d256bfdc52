"""restart-service by way of systemctl: a stand-in program that notes how it was called."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.healer.remediations import make, running
from shared.contracts import SeriesRef
from tests.troubles import Noted

# It answers as systemctl(1) says it does: the main process' number, 0 for none.
_SYSTEMCTL = """#!{python}
import json, os, pathlib, signal, subprocess, sys
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
pid = here / "pid"
if sys.argv[1] == "show":
    print(pid.read_text() if pid.exists() else 0)
elif (here / "broken").exists():
    sys.exit("Job for web.service failed.")
else:
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)
    code = "print(flush=True); import time; time.sleep(600)"
    served = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    served.stdout.readline()
    pid.write_text(str(served.pid))
"""
SERIES = SeriesRef(host="h", item="ss.closed")
SHOW = ["show", "--property=MainPID", "--value", "--", "web"]
RESTART = ["restart", "--", "web"]


class Manager:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "systemctl"
        program.write_text(_SYSTEMCTL.format(python=sys.executable))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.remedy = make("restart-service", {"services": [{"name": "web"}]})

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def pid(self) -> int:
        return int((self.folder / "pid").read_text())


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    made = Manager(tmp_path)
    yield made
    if (tmp_path / "pid").exists():
        os.kill(made.pid(), signal.SIGKILL)


def test_a_service_is_restarted_by_exactly_the_command_that_is_shown(manager: Manager) -> None:
    dry = manager.remedy.run(SERIES, dry_run=True, journal=Noted())
    assert [step.command for step in dry.steps] == ["systemctl restart -- web"]
    assert manager.calls() == [SHOW], "a dry run only asks"
    done = manager.remedy.run(SERIES, dry_run=False, journal=Noted())
    assert done.succeeded, done.detail
    assert manager.calls()[2:] == [SHOW, RESTART, SHOW]
    assert running.read(manager.pid()) is not None


def test_a_plan_restarts_a_service_once_whoever_did_it(manager: Manager) -> None:
    journal = Noted()
    manager.remedy.run(SERIES, dry_run=False, journal=journal)
    ((_, step),) = [entry for entry in journal.events if entry[0] == "done"]
    before = manager.pid()
    assert manager.remedy.happened(step)
    manager.remedy.perform(step)
    assert manager.pid() == before
    assert manager.calls().count(RESTART) == 1


def test_what_the_service_manager_says_against_it_is_told(manager: Manager) -> None:
    (manager.folder / "broken").touch()
    failed = manager.remedy.run(SERIES, dry_run=False, journal=Noted())
    assert not failed.succeeded
    assert [step.error for step in failed.steps] == [
        "systemctl ended with 1: Job for web.service failed."
    ]
