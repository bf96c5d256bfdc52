"""What the embedded servers write: closed to others, mended where it was open, bounded in size."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from services.task.runtimes.local import LocalRuntime
from services.task.spec import EXIT_FILE, LAUNCHER_FILE, LauncherProcess
from shared.cli.stack import _is_supervisor, _lost_supervisor
from shared.embedded import kept, stack, supervisor
from shared.embedded.broker import EmbeddedBroker
from shared.embedded.files import close_to_others, own_directory, write_private
from shared.embedded.log_files import open_log, rotate
from shared.embedded.object_store import EmbeddedObjectStore
from shared.embedded.ports import KeptPorts, any_free
from shared.embedded.process import EmbeddedError, OwnedProcess, is_free
from shared.embedded.stack import Stack
from shared.embedded.stackfile import kept_tokens
from shared.embedded.state import SYSTEM, JobsPlace, alone_with, default_state
from tests.strangers import NOBODY
from tests.waiting import eventually

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root has files of other users to try this with"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_open_files_of_an_earlier_version_are_closed_and_links_left_alone(tmp_path: Path) -> None:
    outside, state = tmp_path / "outside", tmp_path / "state"
    (state / "log").mkdir(parents=True)
    (state / "jobs" / "work").mkdir(parents=True)
    for path in (outside, state / "healer.db", state / "log" / "task.log"):
        path.write_text("secret")
        path.chmod(0o644)
    (state / "log").chmod(0o755)
    (state / "link").symlink_to(outside)
    (state / "jobs" / "work").chmod(0o755)
    state.chmod(0o755)

    own_directory(state)
    close_to_others(state, spared=[state / "jobs" / "work"])

    assert [mode(p) for p in (state, state / "log")] == [0o700, 0o700]
    assert [mode(p) for p in (state / "healer.db", state / "log" / "task.log")] == [0o600, 0o600]
    assert mode(outside) == 0o644
    assert mode(state / "jobs" / "work") == 0o755


@needs_root
def test_a_directory_somebody_else_has_prepared_is_not_used(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)

    with pytest.raises(EmbeddedError, match=r"belongs to user 65534.*--state"):
        own_directory(tmp_path)


def test_a_private_file_replaces_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "stack.json"
    target.write_text("not ours")
    path.symlink_to(target)

    write_private(path, "secret")

    assert (path.read_text(), target.read_text(), mode(path)) == ("secret", "not ours", 0o600)


def test_a_private_file_is_whole_whenever_its_writing_ends(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "new, but it cannot be written to its end: \ud800")
    assert (path.read_text(), mode(path)) == ("old", 0o600)
    write_private(path, "new")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("new", [path])


def test_a_second_supervisor_leaves_everything_to_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "on_signals", lambda *_: None)
    write_private(tmp_path / "stack.json", "{}")
    with alone_with(tmp_path):
        before = sorted(tmp_path.iterdir())
        assert supervisor.main(tmp_path) == 1
        assert sorted(tmp_path.iterdir()) == before
    assert "another supervisor" in capsys.readouterr().err
    with alone_with(tmp_path):
        pass


def test_a_supervisor_is_known_by_its_process_and_its_directory(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "input()", "shared.embedded", str(tmp_path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as process:
        # The kernel shows the new command line a moment after the program was begun.
        eventually(lambda: _is_supervisor(process.pid, tmp_path), "its command line")
        assert not _is_supervisor(process.pid, tmp_path / "another")
        assert _lost_supervisor(tmp_path) == process.pid, "for `down` without its file"
        assert _lost_supervisor(tmp_path / "another") is None
        assert not _is_supervisor(os.getpid(), tmp_path)
        process.communicate(b"\n")
    assert not _is_supervisor(process.pid, tmp_path)


def test_who_is_asked_to_end_while_it_starts_waits_for_no_service(tmp_path: Path) -> None:
    starting = Stack(tmp_path)
    starting.plan_addresses()
    starting.ending.set()
    with pytest.raises(EmbeddedError, match="asked to end"):
        starting.wait_ready()


def test_rotating_logs_outlives_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = Stack(tmp_path)
    rounds = threading.Semaphore(0)

    def full(*_: object) -> None:
        rounds.release()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stack, "rotate", full)
    monkeypatch.setattr(stack, "WATCH_S", 0.0)
    thread = threading.Thread(target=watching._rotate_logs, daemon=True)
    thread.start()
    for _ in range(3 * len(watching.log_files())):
        assert rounds.acquire(timeout=60)
    watching._stopping.set()
    thread.join(60)
    assert not thread.is_alive()


class _Failing:
    """A program that has ended and cannot be started for some time."""

    exit_code = 1

    def __init__(self, failures: Sequence[Exception]) -> None:
        self._failures = list(failures)
        self.running = threading.Event()

    def start(self) -> None:
        if self._failures:
            raise self._failures.pop()
        self.running.set()

    def stop(self) -> None:
        self.running.clear()

    def alive(self) -> bool:
        return self.running.is_set()


def test_keeping_a_program_outlives_a_full_disk_and_ends_with_the_stack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WATCH_S", "_FIRST_PAUSE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(kept, name, 0.0)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    program = _Failing([full, EmbeddedError("no answer"), full])
    keeping, stopping = kept.Kept("broker", program), threading.Event()
    with pytest.raises(OSError, match="space"):
        keeping.start()
    thread = threading.Thread(target=partial(keeping.keep, stopping), daemon=True)
    thread.start()
    assert program.running.wait(60)
    keeping.stop()
    stopping.set()
    thread.join(60)
    assert not thread.is_alive()
    assert not program.alive()


def test_a_full_log_is_emptied_though_its_copy_finds_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    path = tmp_path / "task.log"
    path.write_bytes(b"x" * 2000)
    assert rotate(path, 1000)
    assert path.stat().st_size == 0
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_servers_and_their_logs_are_closed_whatever_we_were_started_with(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        program = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('x'); print('said')"
        log, made = tmp_path / "log" / "server.log", tmp_path / "made"
        process = OwnedProcess([sys.executable, "-c", program, made], log=log)
        process._child.wait()
        process.kill()
    finally:
        os.umask(before)

    assert (log.read_text(), mode(log), mode(log.parent), mode(made)) == (
        "said\n",
        0o600,
        0o700,
        0o600,
    )


def test_a_server_that_says_the_same_for_ever_does_not_fill_the_disk(tmp_path: Path) -> None:
    log, most = tmp_path / "task.log", 10_000
    with open_log(log) as server:
        for number in range(3000):
            server.write(f"crashed again, for the {number}th time\n".encode())
            server.flush()
            rotate(log, most, generations=2)

    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["task.log", "task.log.1", "task.log.2"]
    assert all(file.stat().st_size <= most + 100 for file in files)
    assert "for the 2999th time" in "".join(file.read_text() for file in files)
    assert {mode(file) for file in files} == {0o600}


def test_of_a_burst_the_newest_lines_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "task.log"
    with open_log(log) as server:
        server.write(b"x" * 1_000_000 + b"the end\n")
        server.flush()
        assert rotate(log, 1000)
        server.write(b"goes on\n")
        server.flush()

    older = tmp_path / "task.log.1"
    assert older.stat().st_size == 1000
    assert older.read_text().endswith("the end\n")
    assert log.read_text() == "goes on\n"


def test_ports_stay_over_restarts_until_another_program_has_taken_one(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    (wanted,) = any_free("", ["x"], 0).values()
    first = KeptPorts(file, {"services.client": wanted})("services", ["client", "healer"], 0)
    assert first["client"] == wanted
    assert KeptPorts(file, {})("services", ["client", "healer"], 0) == first

    with socket.create_server(("127.0.0.1", first["client"])):
        second = KeptPorts(file, {"services.client": wanted})("services", ["client", "healer"], 0)
    assert second["client"] != wanted
    assert second["healer"] == first["healer"]
    assert KeptPorts(file, {})("services", ["client", "healer"], 0) == second
    assert mode(file) == 0o600


@pytest.mark.parametrize("content", ["", "[]", "null", '{"services.client": "x"}', "{"])
def test_a_damaged_note_of_ports_or_tokens_is_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    (tmp_path / "tokens.json").write_text(content)

    chosen = KeptPorts(tmp_path / "ports.json", {})("services", ["client"], 10_000)
    assert is_free(chosen["client"])
    assert is_free(chosen["client"] + 10_000)
    tokens = kept_tokens(tmp_path, ["client"])
    assert kept_tokens(tmp_path, ["client"]) == tokens
    assert len(tokens["client"]) > 20


def test_what_outlives_a_stack_goes_on_with_the_next_one_on_its_files(tmp_path: Path) -> None:
    brokers = [EmbeddedBroker(tmp_path / "broker") for _ in range(2)]
    stores = [EmbeddedObjectStore(tmp_path / "store") for _ in range(2)]
    assert brokers[0].passwords == brokers[1].passwords
    assert brokers[0].signing_key == brokers[1].signing_key, "what a job's members log in with"
    assert stores[0].access_key == stores[1].access_key
    assert stores[0].secret_key == stores[1].secret_key
    for file in tmp_path.glob("*/secrets.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert EmbeddedBroker(tmp_path / "other").signing_key != brokers[0].signing_key


def test_the_default_place_is_not_in_roots_home() -> None:
    assert default_state({"BAROGRAPH_STATE": "/somewhere"}) == Path("/somewhere")
    if os.geteuid() == 0:
        assert default_state({"HOME": "/root"}) == SYSTEM
    else:
        assert default_state({"XDG_STATE_HOME": "/x"}) == Path("/x/barograph")
        assert default_state({}) == Path("~/.local/state/barograph")


@needs_root
def test_two_stacks_never_give_the_same_user_and_leave_nothing(tmp_path: Path) -> None:
    root, states = tmp_path / "jobs", [tmp_path / name for name in ("one", "two", "gone")]
    for state in states:
        state.mkdir()
    places = [JobsPlace.of(state, root) for state in states]
    for place in (*places, places[0]):
        place.make()
    blocks = [int(place.settings()["FIRST_UID"]) for place in places]
    assert len(set(blocks)) == len(blocks)
    assert min(abs(a - b) for a in blocks for b in blocks if a != b) >= 2000
    assert mode(places[0].directory) == mode(root) == 0o711

    states[2].rmdir()
    (places[2].directory / "job").mkdir()
    places[0].make()
    assert not places[2].directory.exists(), "its state is gone"
    (places[1].directory / "job").mkdir()
    for place in places[:2]:
        place.leave()
    assert [place.directory.exists() for place in places[:2]] == [False, True], "a job is in one"


@pytest.mark.parametrize("torn", [b"", b"{", b"\xff", b"[]"])
def test_a_torn_file_of_one_member_hides_no_other(tmp_path: Path, torn: bytes) -> None:
    gone = LauncherProcess(pid=1, started=0).model_dump_json().encode()
    for job, launcher, end in (("a", torn, torn), ("b", gone, torn), ("c", gone, None)):
        directory = tmp_path / job / "worker-0" / "1"
        directory.mkdir(parents=True)
        (directory / LAUNCHER_FILE).write_bytes(launcher)
        if end is not None:
            (directory / EXIT_FILE).write_bytes(end)
    (tmp_path / "d" / "worker-0" / "1" / LAUNCHER_FILE).mkdir(parents=True)
    seen = LocalRuntime(tmp_path).observe()
    assert sorted((each.job_id, each.alive, each.end) for each in seen) == [
        (job, False, None) for job in "abcd"
    ]
