"""A pod's two containers speak through files: the real script in a process, the launcher's end."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.task.launcher import pod_program
from services.task.launcher.exchange import Exchange, RemoteProgram, Tail
from services.task.launcher.ground import Order, RunningProgram
from tests.strangers import open_way_to
from tests.waiting import eventually

WAIT_S = 600


@dataclass
class Container:
    """The program's container, and the launcher's view of it."""

    directory: Path
    process: subprocess.Popen[bytes] = field(init=False)
    lost: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.exchange = Exchange(self.directory)
        self.tail = Tail(self.exchange)
        self.log = self.directory.parent / "log"
        self.output = os.open(self.log, os.O_WRONLY | os.O_CREAT)
        script = pod_program.__file__
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(self.directory)],
            stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "KUBERNETES_SERVICE_HOST": "x", "FROM_IMAGE": "yes"},
        )
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self.process.wait()
        self.lost.set()

    def run(self, program: str, number: int = 1, **env: str) -> RemoteProgram:
        self.ended.clear()
        main = self.directory.parent / f"main{number}.py"
        main.write_text(program)
        order = Order([str(main)], {"MARK": "here", **env}, self.directory.parent)
        return RemoteProgram(self.exchange, number, order, self.lost, self._drain, self._end)

    def leave(self, code: int) -> int:
        self.exchange.tell("leave.json", {"exit_code": code})
        return self.process.wait(WAIT_S)

    def vanish(self) -> None:
        """End as a killed container does: at once, and its program with it."""
        container = psutil.Process(self.process.pid)
        # Halted first: it could start its program between our look and its end.
        container.suspend()
        while container.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
            pass
        inside = container.children(recursive=True)
        self.process.kill()
        for process in inside:
            process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.vanish()
        os.close(self.output)

    def _drain(self) -> None:
        self.tail.carry(self.output)

    def _end(self, _program: RunningProgram) -> None:
        self.ended.set()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    directory = tmp_path / "exchange"
    directory.mkdir()
    made = Container(directory)
    yield made
    made.close()


def test_a_program_runs_and_its_end_and_every_line_of_it_arrive(container: Container):
    program = container.run("import os\nprint(*sorted(os.environ))\nraise SystemExit(3)")
    assert container.ended.wait(WAIT_S)
    assert (program.exit_code, program.oom, program.witnessed) == (3, False, True)
    words = container.log.read_text().split()
    assert "FROM_IMAGE" in words
    assert "MARK" in words
    assert not [word for word in words if word.startswith("KUBERNETES_")]
    assert container.leave(3) == 3


def test_a_second_run_begins_where_the_first_was_stopped(container: Container):
    up = container.directory.parent / "up"
    first = container.run(
        "import pathlib, time\n"
        "print('one', flush=True)\n"
        f"pathlib.Path({str(up)!r}).touch()\n"
        "time.sleep(600)"
    )
    while not up.exists():
        assert container.process.poll() is None
    first.stop(600.0)
    assert first.exit_code == -signal.SIGTERM
    container.run("print('two')", number=2)
    assert container.ended.wait(WAIT_S)
    assert container.log.read_text().split() == ["one", "two"]


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(container: Container):
    program = container.run(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
    )
    program.stop(0.2)
    assert program.exit_code in {-signal.SIGKILL, -signal.SIGTERM}


def test_what_the_program_started_ends_with_it(container: Container):
    pid = container.directory.parent / "pid"
    container.run(
        "import pathlib, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))\n"
    )
    assert container.ended.wait(WAIT_S)
    number = int(pid.read_text())
    # It was sent SIGKILL; a busy machine lets it go a little later.
    eventually(lambda: not runs(number), "the end of what it started")
    assert container.log.read_text() == LEFT.format("sleep 600")


LEFT = "[barograph] ended what the program had left running: {}\n"


def test_what_ends_by_itself_and_what_is_stopped_is_not_told_as_left(container: Container) -> None:
    container.run(
        "import multiprocessing.shared_memory as s\n"
        "s.SharedMemory(create=True, size=10).unlink()\n"  # has a helper of its own
        "print('done')"
    )
    assert container.ended.wait(WAIT_S)
    up = container.directory.parent / "up"
    second = container.run(
        "import pathlib, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(up)!r}).touch()\n"
        "child.wait()",
        number=2,
    )
    while not up.exists():
        assert container.process.poll() is None
    second.stop(600.0)
    assert container.log.read_text() == "done\n"


LOCAL = """
import os, sys, threading
from pathlib import Path
from services.task.cgroups import Cgroup
from services.task.launcher.program import Command, Program, protect_this_process
from services.task.processes import MARK
protect_this_process()
ended = threading.Event()
env = {MARK: "m", "PATH": "/usr/bin:/bin"}
command = Command([sys.executable, sys.argv[1]], env, Path("/"), UID, 2**40)
program = Program(command, Cgroup(), 1, lambda _: ended.set())
ended.wait()
program.kill()
"""


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import subprocess; subprocess.Popen(['sleep', '600'])", LEFT.format("sleep 600")),
        ("import os, time\nif not os.fork():\n  os.setsid(); time.sleep(600)", "left running"),
        (
            (
                "from multiprocessing.shared_memory import SharedMemory as S\n"
                "S(create=True, size=1).unlink()"
            ),
            "",
        ),
    ],
)
def test_what_a_program_of_this_machine_leaves_running_is_named(
    program: str, said: str, tmp_path: Path
) -> None:
    main = tmp_path / "main.py"
    main.write_text(program)
    main.chmod(0o644)
    open_way_to(tmp_path)
    code = LOCAL.replace("UID", "65534" if os.geteuid() == 0 else "None")
    ran = subprocess.run(
        [sys.executable, "-c", code, str(main)], capture_output=True, text=True, check=True
    )
    assert said in ran.stdout if said else ran.stdout == ""


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_container_that_vanishes_is_no_witness_of_its_program(container: Container):
    program = container.run("import time\nprint('last words', flush=True)\ntime.sleep(600)")
    while "last words" not in container.log.read_text():
        assert container.process.poll() is None
    container.vanish()
    assert container.ended.wait(WAIT_S)
    assert not program.witnessed


def test_an_end_that_is_written_as_its_container_goes_is_believed() -> None:
    lost, ended = threading.Event(), threading.Event()

    class EndsBetweenTwoLooks(Exchange):
        """Its container writes how the program ended, and goes, just after it was asked."""

        def tell(self, name: str, value: dict[str, Any]) -> None: ...

        def heard(self, name: str) -> dict[str, Any] | None:
            if lost.is_set():
                return {"exit_code": 3, "oom": False, "fault": ""}
            lost.set()
            return None

    order = Order(argv=[], env={}, cwd=Path("/"))
    program = RemoteProgram(
        EndsBetweenTwoLooks(Path("/nowhere")), 1, order, lost, lambda: None, lambda _: ended.set()
    )
    assert ended.wait(WAIT_S)
    assert (program.exit_code, program.witnessed) == (3, True)


def test_a_program_whose_output_cannot_be_carried_is_not_waited_for_for_ever() -> None:
    class Silent(Exchange):
        def tell(self, name: str, value: dict[str, Any]) -> None: ...

        def heard(self, name: str) -> dict[str, Any] | None: ...

    def fails() -> None:
        raise OSError("the pipe is closed")

    ended = threading.Event()
    order, lost = Order(argv=[], env={}, cwd=Path("/")), threading.Event()
    program = RemoteProgram(Silent(Path("/nowhere")), 1, order, lost, fails, lambda _: ended.set())
    assert ended.wait(WAIT_S)
    program.stop(0.0)
    assert not program.witnessed


def test_sigterm_is_passed_on_and_does_not_end_the_container(container: Container):
    container.run("import time\ntime.sleep(600)")
    while container.exchange.heard("started-1") is None:
        assert container.process.poll() is None
    container.process.send_signal(signal.SIGTERM)
    while container.exchange.heard("terminated") is None:
        assert container.process.poll() is None
    assert container.leave(143) == 143


def test_much_output_is_carried_in_pieces_and_none_is_left(container: Container):
    lines = 300_000
    container.run(f"for n in range({lines}): print('x' * 30)")
    assert container.ended.wait(WAIT_S)
    assert container.log.stat().st_size == lines * 31
    assert len(list(container.directory.glob("log.*"))) == 1


def test_a_link_in_place_of_an_answer_is_not_followed(container: Container):
    secret = container.directory.parent / "secret"
    secret.write_text('{"exit_code": 0}')
    (container.directory / "ended-9.json").symlink_to(secret)
    assert container.exchange.heard("ended-9.json") is None


def test_nonsense_in_an_answer_is_a_failure_of_the_program(container: Container):
    program = container.run("import time\ntime.sleep(600)")
    (container.directory / "ended-1.json").write_text('{"exit_code": "0"}')
    assert container.ended.wait(WAIT_S)
    assert program.exit_code == 1


@pytest.mark.slow
def test_what_the_container_uses_is_told_while_the_program_runs(container: Container):
    program = container.run("held = bytearray(80_000_000)\nwhile True: pass")
    deadline = time.monotonic() + WAIT_S
    while (used := program.used()) is None or used.memory_bytes < 80_000_000:
        assert time.monotonic() < deadline
    before = used.cpu_seconds
    while program.used().cpu_seconds <= before:
        assert time.monotonic() < deadline
    program.stop(5.0)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"cpu_seconds": "1", "memory_bytes": 1},
        {"cpu_seconds": 1, "memory_bytes": -1},
        {"cpu_seconds": 1e300, "memory_bytes": 1},
        {"cpu_seconds": float("nan"), "memory_bytes": 1},
    ],
)
def test_a_use_that_cannot_be_is_not_believed(container: Container, told: dict[str, object]):
    program = container.run("import time\ntime.sleep(600)")
    (container.directory / "used.json").unlink(missing_ok=True)
    exchange = Exchange(container.directory.parent / "other")
    (container.directory.parent / "other").mkdir()
    (container.directory.parent / "other" / "used.json").write_text(json.dumps(told))
    program._exchange = exchange
    assert program.used() is None
    program._exchange = container.exchange
    program.stop(5.0)


def test_a_measurement_that_cannot_be_written_costs_the_program_nothing(tmp_path: Path) -> None:
    # Without its log and its signal handler, which would be this process's.
    wrapper = object.__new__(pod_program.Wrapper)
    running: Any = object()
    wrapper._directory, wrapper._run, wrapper._measured = str(tmp_path), running, -math.inf
    (tmp_path / "used.json.tmp").mkdir()
    wrapper._measure()
    assert not (tmp_path / "used.json").exists()
    (tmp_path / "used.json.tmp").rmdir()
    wrapper._measured = -math.inf
    wrapper._measure()
    assert (tmp_path / "used.json").exists()


@pytest.mark.parametrize(
    "told",
    ['{"fault": "\\ud800\\u0000", "exit_code": 3}', "[" * 60_000],
    ids=["half a character", "nested"],
)
def test_an_answer_that_cannot_be_passed_on_hides_no_end(container: Container, told: str):
    program = container.run("import time\ntime.sleep(600)")
    (container.directory / "ended-1.json").write_text(told)
    assert container.ended.wait(WAIT_S)
    assert (program.witnessed, program.exit_code) == (True, 3 if "fault" in told else 1)
    assert program.fault == ("??" if "fault" in told else "")


def test_a_full_disk_costs_the_output_its_lines_and_the_program_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = pod_program.Output(str(tmp_path))
    kept = output._file
    with Path("/dev/full").open("wb", buffering=0) as full:
        output._file = full
        output.write(b"lost\n")
    output._file = kept
    (tmp_path / "log.000001").mkdir()
    kept.truncate(pod_program._PIECE)
    output.write(b"kept\n")
    (tmp_path / "log.000001").rmdir()
    output.write(b"kept\n")
    output.write(b"next\n")
    kept.close()
    output._file.close()
    assert (tmp_path / "log.000000").read_bytes().endswith(b"kept\nkept\n")
    assert (tmp_path / "log.000001").read_bytes() == b"next\n"
    assert capfd.readouterr().out == "lost\nkept\nkept\nnext\n"


def test_what_happened_is_told_in_order_once_the_disk_has_room(tmp_path: Path) -> None:
    wrapper = object.__new__(pod_program.Wrapper)
    wrapper._directory, wrapper._untold = str(tmp_path), []
    (tmp_path / "started-1.tmp").mkdir()
    wrapper._tell("started-1", {})
    wrapper._tell("ended-1.json", {"exit_code": 3})
    assert not (tmp_path / "ended-1.json").exists()
    (tmp_path / "started-1.tmp").rmdir()
    wrapper._tell()
    assert (tmp_path / "started-1").exists()
    assert json.loads((tmp_path / "ended-1.json").read_text()) == {"exit_code": 3}
    assert wrapper._untold == []
