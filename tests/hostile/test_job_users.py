"""Programs run as users of their own: given, not chosen; never root; and no file changes hands."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.task.launcher import exec_program
from services.task.launcher.machine import group_name
from services.task.processes import MARK, kill_marked, kill_user, of_user
from services.task.runtime import RuntimeUnavailable
from services.task.runtimes import leftovers
from services.task.runtimes.directories import hand_over, make_job, make_work_dir, scratch
from services.task.runtimes.leftovers import clear
from services.task.runtimes.local import LocalRuntime, specs
from services.task.settings import TaskSettings
from services.task.spec import Credentials, MemberSpec
from services.task.users import Ground, Users
from shared.contracts import JobSubmit, Member, Role
from shared.store import Store
from tests.signal_masks import settable
from tests.strangers import NOBODY, open_way_to
from tests.waiting import eventually

FIRST, COUNT = 1_950_000_000, 5
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give files and programs to other users"
)


class Ledger:
    """Users on a store of their own."""

    def __init__(self, occupied: Callable[[], set[int]] = set) -> None:
        self.store = Store("sqlite://")
        self.users = Users(FIRST, COUNT, self._unit, occupied)

    @contextmanager
    def _unit(self) -> Iterator[Any]:
        with self.store.transaction() as records:
            yield SimpleNamespace(records=records)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=40))
def test_no_two_jobs_ever_have_the_same_user(steps: list[tuple[str, bool]]) -> None:
    ledger, living = Ledger(), dict[str, int]()
    for job, ends in steps:
        if ends:
            ledger.users.release(job)
            living.pop(job, None)
        elif job in living or len(living) < COUNT:
            uid = ledger.users.of(job)
            assert living.setdefault(job, uid) == uid
            assert uid in range(FIRST, FIRST + COUNT)
            assert len(set(living.values())) == len(living)
        else:
            with pytest.raises(RuntimeUnavailable, match="in use"):
                ledger.users.of(job)


def test_the_user_does_not_follow_from_the_id_and_comes_back_last() -> None:
    first, second = Ledger(), Ledger()
    second.users.of("somebody-else")
    assert first.users.of("victim") != second.users.of("victim")

    given_out = []
    for number in range(COUNT):
        given_out.append(first.users.of(f"job{number}") if number else first.users.of("victim"))
        first.users.release(f"job{number}" if number else "victim")
    assert len(set(given_out)) == COUNT, "the one just given back is the last to be given again"


def test_what_belongs_to_somebody_is_given_to_nobody() -> None:
    ledger = Ledger(occupied=lambda: {FIRST, FIRST + 1})

    assert ledger.users.of("job") == FIRST + 2


@needs_root
def test_root_stays_owner_of_what_a_program_links_to(tmp_path: Path) -> None:
    """A running member swaps a folder for a link while another one of its job is started."""
    open_way_to(tmp_path)
    secret = tmp_path / "etc"
    secret.mkdir()
    (secret / "shadow").write_text("root's")
    job = tmp_path / "job"
    make_job(job, NOBODY)
    swap = textwrap.dedent(
        """
        import os, sys
        here, target = sys.argv[1:]
        os.mkdir(f"{here}/d"); open(f"{here}/d/shadow", "w").close()
        print("ready", flush=True)
        while True:
            os.rename(f"{here}/d", f"{here}/e"); os.symlink(target, f"{here}/d")
            os.unlink(f"{here}/d"); os.rename(f"{here}/e", f"{here}/d")
        """
    )
    program = subprocess.Popen(
        ["/usr/bin/python3", "-c", swap, str(job / "checkpoints"), str(secret)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
    )
    with program:
        assert program.stdout is not None
        program.stdout.readline()
        for _ in range(500):
            make_job(job, NOBODY)
        program.kill()

    assert (secret.stat().st_uid, (secret / "shadow").stat().st_uid) == (0, 0)
    assert (job.stat().st_uid, (job / "checkpoints").stat().st_uid) == (0, NOBODY)


@needs_root
def test_a_work_directory_is_handed_over_whole_and_links_are_not_followed(tmp_path: Path) -> None:
    outside, work = tmp_path / "outside", tmp_path / "work"
    for place in (outside, work, work / "deep" / "er"):
        place.mkdir(parents=True)
    (outside / "file").write_text("root's")
    (work / "deep" / "er" / "file").write_text("the program's")
    (work / "to-folder").symlink_to(outside)
    (work / "deep" / "to-file").symlink_to(outside / "file")

    hand_over(work, NOBODY)

    assert {path.lstat().st_uid for path in (work, *work.rglob("*"))} == {NOBODY}
    assert {path.lstat().st_uid for path in (outside, *outside.rglob("*"))} == {0}
    assert work.stat().st_mode & 0o077 == 0


@needs_root
def test_a_process_that_hides_ends_with_its_user(tmp_path: Path) -> None:
    """It has left its session and shows no mark of its member."""
    uid = FIRST + COUNT
    hide = "import os, time; os.fork() and os._exit(0); os.setsid(); print(1); time.sleep(600)"
    subprocess.run(
        ["/usr/bin/python3", "-c", hide],
        user=uid,
        group=uid,
        extra_groups=[],
        env={},
        cwd="/",
        stdout=subprocess.DEVNULL,
        check=True,
    )
    eventually(lambda: of_user(uid), "its process", pause_s=0.01)

    assert kill_user(uid)
    assert of_user(uid) == []


@needs_root
def test_jobs_of_one_name_in_two_stacks_do_not_end_each_other() -> None:
    first, second = FIRST + COUNT + 1, FIRST + COUNT + 2
    programs = [
        subprocess.Popen(
            ["/usr/bin/python3", "-c", "print(1, flush=True); import time; time.sleep(600)"],
            user=uid,
            group=uid,
            extra_groups=[],
            env={MARK: "train/worker-0/1"},
            cwd="/",
            stdout=subprocess.PIPE,
        )
        for uid in (first, second)
    ]
    for program in programs:
        assert program.stdout is not None
        program.stdout.readline()

    assert kill_marked(["train/worker-0/1"], first) == 1

    with programs[0], programs[1]:
        assert programs[0].wait(60) == -9
        assert programs[1].poll() is None
        programs[1].kill()


def test_control_groups_of_one_name_in_two_stacks_are_two() -> None:
    spec = MemberSpec(
        job=JobSubmit(job_id="j", name="n", package="barograph:packages:a.tar.gz", main="m.py"),
        member=Member(role="worker", index=0, incarnation=1),
        primary=True,
        directory="/one/jobs/j/worker-0/1",
        checkpoints="/one/jobs/j/checkpoints",
        host="h",
        credentials=Credentials(broker_url="amqp://", bucket="barograph"),
    )
    other = spec.model_copy(update={"directory": "/two/jobs/j/worker-0/1"})

    assert group_name(spec) == group_name(spec) != group_name(other)


@needs_root
def test_a_job_is_refused_where_its_user_could_not_work(tmp_path: Path) -> None:
    work_dir = tmp_path / "closed" / "jobs"
    make_work_dir(work_dir)
    work_dir.parent.chmod(0o700)
    ground = Ground(FIRST, [work_dir])
    open_way_to(tmp_path)

    problem = ground.problem()
    assert "never runs as root" in problem
    assert "BAROGRAPH_TASK_JOBS_DIR" in problem
    assert str(work_dir) in problem

    work_dir.parent.chmod(0o711)
    assert ground.problem() == "", "what was mended is found without a restart"


@needs_root
def test_the_last_step_before_a_program_refuses_root() -> None:
    told = {
        "argv": [sys.executable, "-c", "print('ran')"],
        "env": {},
        "cwd": "/",
        "parent": os.getpid(),
        "cgroups": [],
        "accounts": [],
    }
    for uid in (None, 0):
        done = subprocess.run(
            [sys.executable, "-I", "-S", exec_program.__file__],
            input=json.dumps(told | {"uid": uid}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert (done.stdout, done.stderr) == ("", "a program never runs as root\n")


@needs_root
def test_a_program_begins_with_no_signal_ignored_or_blocked_whoever_started_the_platform() -> None:
    show = "grep -E 'Sig(Blk|Ign)' /proc/self/status"
    told = {
        "argv": ["/bin/sh", "-c", show],
        "env": {"PATH": "/usr/bin:/bin"},
        "cwd": "/",
        "parent": os.getpid(),
        "cgroups": [],
        "accounts": [],
        "uid": 65534,
    }
    ignored = "trap '' HUP INT QUIT PIPE USR1 TERM; exec \"$@\""
    done = subprocess.run(
        ["/bin/sh", "-c", ignored, "sh", sys.executable, "-I", "-S", exec_program.__file__],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [settable(line.split()[1]) for line in done.stdout.splitlines()] == [0, 0]


@pytest.mark.parametrize("state", ["/v", "/var/lib/barograph-jobs/0123456789ab", "/home/a" * 30])
@pytest.mark.parametrize("job", ["a", "train-resnet50-2026-11-28-run-0017" * 4])
def test_sockets_in_a_programs_temporary_directory_have_short_paths(state: str, job: str) -> None:
    place = scratch(Path(state), f"{job}/worker-12/3") / "tmp"

    assert len(os.fsencode(place)) <= 75
    assert place != scratch(Path(state), f"{job}/worker-1/3") / "tmp"
    assert place != scratch(Path(state) / "other", f"{job}/worker-12/3") / "tmp"


@needs_root
def test_what_a_job_left_for_all_users_goes_with_it_and_nothing_else(tmp_path: Path) -> None:
    place, victim = tmp_path / "shm", tmp_path / "victim"
    place.mkdir()
    (victim / "kept").mkdir(parents=True)
    (place / "others").write_text("x")
    (place / "segment").write_text("x")
    (place / "folder/below").mkdir(parents=True)
    (place / "link").symlink_to(victim)
    (place / "folder/link").symlink_to(victim)
    os.mkfifo(place / "pipe")
    for name in ("segment", "folder", "folder/below", "folder/link", "link", "pipe"):
        os.chown(place / name, FIRST, FIRST, follow_symlinks=False)
    # The folder itself was exchanged for a link.
    (tmp_path / "exchanged").symlink_to(victim)
    os.chown(victim / "kept", FIRST, FIRST)

    absent = tmp_path / "absent"
    assert clear(FIRST, (place, absent, tmp_path / "exchanged")) == 4
    assert [each.name for each in place.iterdir()] == ["others"]
    assert (victim / "kept").is_dir()


@needs_root
def test_nothing_of_a_user_with_an_account_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("x")
    os.chown(tmp_path / "own", NOBODY, NOBODY)
    assert clear(NOBODY, (tmp_path,)) == 0
    assert (tmp_path / "own").exists()


@needs_root
def test_what_others_delete_meanwhile_keeps_nothing_from_being_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "segment").write_text("x")
    os.chown(tmp_path / "segment", FIRST, FIRST)
    scandir = os.scandir

    def passing(place: int) -> AbstractContextManager[list[Any]]:
        """The entries of a directory, of which the first is gone by the time it is looked at."""
        found = list(scandir(place))

        def gone(**_: object) -> None:
            raise FileNotFoundError

        return nullcontext([SimpleNamespace(name="passing", stat=gone), *found])

    monkeypatch.setattr(leftovers.os, "scandir", passing)
    assert clear(FIRST, (tmp_path,)) == 1
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", ["spawn", "log"])
def test_launchers_that_cannot_be_started_take_no_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refused(*_: object, **_more: object) -> int:
        raise OSError(errno.EAGAIN, "no process to be had")

    monkeypatch.setattr(os, "posix_spawn", refused)
    chosen = TaskSettings(jobs_dir=tmp_path, s3_bucket="barograph")
    runtime = LocalRuntime(tmp_path, specs(chosen))
    member = Member(role=Role.WORKER, index=0, incarnation=1)
    if fails == "log":
        (runtime.directory("a", member) / "launcher.log").mkdir(parents=True)
    values = {"job_id": "a", "name": "n", "package": "bucket:p:a.tar.gz", "main": "m.py"}
    before = [*Path("/proc/self/fd").iterdir()]
    for _ in range(3):
        with pytest.raises(RuntimeUnavailable):
            runtime.start(JobSubmit.model_validate(values), [member])
    assert len([*Path("/proc/self/fd").iterdir()]) <= len(before)
