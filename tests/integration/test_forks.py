"""Processes from the fork server are as separate as those that a stack starts otherwise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.embedded.forks import Forks, forks
from shared.embedded.process import OwnedProcess
from tests.waiting import eventually

MODULE = "tests.forked_child"


@pytest.fixture(scope="module")
def server() -> Iterator[Forks]:
    with forks(os.environ) as started:
        yield started


def told(process: OwnedProcess) -> dict[str, object]:
    """What a process has told about itself."""
    eventually(lambda: process.log.read_text().endswith("\n"), "it tells about itself")
    return dict(json.loads(process.log.read_text()))


def remembers(pid: int, text: str) -> bool:
    """Return whether a text is anywhere in the memory that a process may write to."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            extent, rights, *_ = line.split()
            begin, end = (int(number, 16) for number in extent.split("-"))
            if "w" in rights:
                memory.seek(begin)
                if text.encode() in memory.read(end - begin):
                    return True
    return False


def test_each_has_its_own_environment_session_log_and_command_line(
    server: Forks, tmp_path: Path
) -> None:
    environments = [{"PATH": os.environ["PATH"], "ONE": "1 \udce4"}, {"TWO": "2"}]

    running = [
        server.launch(MODULE, log=tmp_path / f"{number}.log", env=environment)
        for number, environment in enumerate(environments)
    ]
    try:
        for process, environment in zip(running, environments, strict=True):
            about = told(process)
            assert about["environment"] == environment
            assert about["session"] == process.pid
            assert about["umask"] == 0o077
            assert about["arguments"] == 1
            assert about["descriptors"] == ["0", "1", "2", "3"]  # the last lists them
            line = [word for word in psutil.Process(process.pid).cmdline() if word]
            assert line == [sys.executable, "-m", MODULE]
            assert psutil.Process(process.pid).ppid() == os.getpid()
    finally:
        for process in running:
            process.stop()


def test_no_setting_of_one_is_in_the_memory_of_another(server: Forks, tmp_path: Path) -> None:
    first = server.launch(MODULE, log=tmp_path / "first.log", env={"PASSWORD": "of-the-first-one"})
    told(first)
    later = server.launch(MODULE, log=tmp_path / "later.log", env={"PASSWORD": "of-the-later-one"})
    told(later)
    try:
        assert remembers(first.pid, "of-the-first-one")
        assert remembers(later.pid, "of-the-later-one")
        assert not remembers(later.pid, "of-the-first-one")
        assert not remembers(first.pid, "of-the-later-one")
    finally:
        first.stop()
        later.stop()


def test_the_end_of_each_is_known(server: Forks, tmp_path: Path) -> None:
    ended = server.launch(MODULE, log=tmp_path / "ended.log", env={"END": "3"})
    killed = server.launch(MODULE, log=tmp_path / "killed.log", env={})
    stopped = server.launch(MODULE, log=tmp_path / "stopped.log", env={})
    told(stopped)

    killed.kill()
    stopped.stop()

    assert eventually(lambda: ended.exit_code, "it ends") == 3
    ended.stop()
    assert killed.exit_code == -signal.SIGKILL
    assert stopped.exit_code == -signal.SIGTERM


def test_those_of_an_owner_that_is_killed_end(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, sys, time
        from pathlib import Path
        from shared.embedded.forks import forks
        with forks(os.environ) as server:
            print(server.launch("{MODULE}", log=Path(sys.argv[1]), env={{}}).pid, flush=True)
            time.sleep(600)
        """
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "log"], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    below = [process.pid for process in psutil.Process(owner.pid).children()]
    assert pid in below

    owner.kill()
    owner.wait()
    owner.stdout.close()

    eventually(lambda: not any(_lives(each) for each in below), "neither server nor process lives")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_that_has_ended_is_told(tmp_path: Path) -> None:
    before = {process.pid for process in psutil.Process().children()}
    with forks(os.environ) as server:
        (pid,) = {process.pid for process in psutil.Process().children()} - before
        os.kill(pid, signal.SIGKILL)

        with pytest.raises(OSError, match=r"ended|pipe|reset"):
            server.launch(MODULE, log=tmp_path / "log", env={})
