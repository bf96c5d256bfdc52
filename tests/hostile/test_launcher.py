"""Tests of what launchers fetch and store: nothing is left for a program that is not its job's."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from services.task.launcher import artifacts, checkpoints, package, patience
from services.task.launcher import main as launcher_main
from services.task.launcher.artifacts import Uploaded
from services.task.launcher.environment import Places
from services.task.launcher.ground import Order, RunningProgram
from services.task.launcher.main import Launcher
from services.task.launcher.membership import Membership
from services.task.launcher.results import LeftOut, Results
from services.task.spec import LAUNCHER_FILE, Credentials, MemberSpec, checkpoint_key
from shared.changes import changed
from shared.contracts import (
    MAX_ARTIFACTS,
    ClusterSpecReady,
    JobSubmit,
    Member,
    PodExited,
    Role,
    Stored,
)
from shared.packages import pack
from shared.storage import (
    AccessDenied,
    MemoryStore,
    ObjectInfo,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from tests.waiting import eventually

BUCKET = "barograph"


PACKAGE = "barograph:packages:p.tar.gz"


def _spec(private: Path, digest: str | None = None, reference: str = PACKAGE) -> MemberSpec:
    submit = JobSubmit(
        job_id="j1",
        name="digits",
        package=reference,
        package_sha256=digest,
        main="main.py",
    )
    return MemberSpec(
        job=submit,
        member=Member(role=Role.WORKER, index=0, incarnation=1),
        primary=True,
        directory=str(private),
        checkpoints=str(private / "checkpoints"),
        host="127.0.0.1",
        credentials=Credentials(broker_url="amqp://broker", bucket=BUCKET),
    )


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.ensure_bucket(BUCKET)
    return store


@pytest.fixture
def private(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    return tmp_path / "private"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_what_was_fetched_and_is_no_package_is_not_left_to_the_program(
    store: MemoryStore, private: Path, work: Path, digest: str | None
) -> None:
    store.put(BUCKET, "packages/p.tar.gz", b"the model of somebody else")
    with pytest.raises(package.Unusable):
        package.obtain(store, _spec(private, digest), work)
    assert list(work.iterdir()) == []
    assert list(private.iterdir()) == []


def test_a_reference_that_names_no_object_is_told_and_nothing_is_fetched(
    store: MemoryStore, private: Path, work: Path
) -> None:
    store.put(BUCKET, "packages/..", b"an object that no package may be")
    with pytest.raises(package.Unusable, match=r"barograph:packages:\.\. names no package"):
        package.obtain(store, _spec(private, reference="barograph:packages:.."), work)


def test_a_package_without_the_main_program_is_named(
    store: MemoryStore, private: Path, work: Path, tmp_path: Path
) -> None:
    (tmp_path / "job/code").mkdir(parents=True)
    (tmp_path / "job/code/train.py").write_text("")
    packed = pack(tmp_path / "job", tmp_path / "p.tar.gz")
    store.put(BUCKET, "packages/p.tar.gz", packed.path)
    with pytest.raises(package.Unusable, match=r"holds no main program main\.py"):
        package.obtain(store, _spec(private), work)
    (tmp_path / "job/code/main.py").write_text("")
    packed = pack(tmp_path / "job", tmp_path / "p.tar.gz")
    assert packed.sha256 == hashlib.sha256(packed.path.read_bytes()).hexdigest()
    store.put(BUCKET, "packages/p.tar.gz", packed.path)
    other = work / "again"
    found = package.obtain(store, _spec(private, packed.sha256), other)
    assert found.main == other / "package/job/code/main.py"
    assert found.data == other / "package/job/data"
    assert list(private.iterdir()) == []


@pytest.fixture
def places(work: Path, private: Path) -> Places:
    (work / "package/p/code").mkdir(parents=True)
    code = work / "package/p/code"
    places = Places(code, code.with_name("data"), work, private.with_name("checkpoints"))
    places.make()
    return places


def _keys(store: MemoryStore, done: Uploaded) -> dict[str, bytes]:
    return {a.key.removeprefix("jobs/j1/"): store.get(BUCKET, a.key) for a in done}


def _upload(
    store: MemoryStore, private: Path, places: Places, owner: int | None = None
) -> Uploaded:
    return artifacts.upload(store, _spec(private), places, owner, 1.0)


@pytest.mark.parametrize("what", ["model", "output"])
def test_a_directory_replaced_by_a_link_to_the_secret_stores_nothing_of_it(
    store: MemoryStore, private: Path, places: Places, what: str
) -> None:
    (private / "..data").mkdir()
    (private / "..data/spec.json").write_text("TOKEN")
    directory = getattr(places, what)
    directory.rmdir()
    directory.symlink_to(private / "..data")
    done = _upload(store, private, places)
    assert _keys(store, done) == {}
    assert done.stored.left_out == 1
    assert "is no directory any more" in done.stored.reasons[0]
    assert not [o for o in store.list(BUCKET, "") if b"TOKEN" in store.get(BUCKET, o.key)]


def test_a_file_of_holes_is_named_and_not_read(
    store: MemoryStore, private: Path, places: Places
) -> None:
    (places.model / "weights.bin").write_bytes(b"w")
    with (places.model / "memmap.bin").open("wb") as file:
        os.truncate(file.fileno(), 8 * 2**40)
    done = _upload(store, private, places)
    assert _keys(store, done) == {"model/weights.bin": b"w"}
    (reason,) = done.left_out.reasons
    assert reason == "'memmap.bin': is sparse: of 8796093022208 bytes 0 are on disk"


def test_links_that_lead_out_are_named_and_those_inside_store_their_contents(
    store: MemoryStore, private: Path, places: Places
) -> None:
    (private / "secret").write_text("TOKEN")
    model = places.model
    (model / "v2").mkdir()
    (model / "v2/weights.bin").write_bytes(b"w")
    (model / "latest").symlink_to("v2")
    (model / "best.bin").symlink_to("latest/weights.bin")
    (model / "absolute").symlink_to(model / "v2")
    for name, target in (
        ("secret", private / "secret"),
        ("up", "../../private/secret"),
        ("round", "v2/../../model/../../private"),
    ):
        (model / name).symlink_to(target)
    (model / "v2/nothing").symlink_to("absent")
    (model / "circle").symlink_to("circle")
    (model / "v2/self").symlink_to("..")
    os.mkfifo(model / "pipe")
    (model / "new\nline").write_text("")
    done = _upload(store, private, places)
    names = ("v2", "latest", "absolute")
    assert _keys(store, done) == {
        "model/best.bin": b"w",
        **{f"model/{name}/weights.bin": b"w" for name in names},
    }
    reasons = "; ".join(done.left_out.reasons)
    for name in ("secret", "up", "round", "nothing", "circle", "self", "pipe", r"new\nline"):
        assert f"{name}': " in reasons
    assert "TOKEN" not in str([store.get(BUCKET, o.key) for o in store.list(BUCKET, "")])
    told = store.get(BUCKET, "jobs/j1/manifest/worker-0.1.left-out.txt").decode()
    assert told == f"{done.left_out.number} in all\n" + "\n".join(done.left_out.reasons) + "\n"


def test_a_directory_replaced_while_it_is_read_leads_nowhere(
    store: MemoryStore, private: Path, places: Places
) -> None:
    (private / "spec.json").write_text("TOKEN")
    for name in ("a", "b"):
        (places.model / name).mkdir()
        (places.model / name / "spec.json").write_text("mine")
    left_out = LeftOut()
    found = []
    for file in Results(None, left_out).files(places.model):
        found.append((file.name, file.path.read_text()))
        if len(found) == 1:
            (places.model / "b").rename(places.model / "gone")
            (places.model / "b").symlink_to(private)
    assert found == [("a/spec.json", "mine")]
    assert left_out.reasons == ["'b': a link that leads out of the directory"]


def test_a_file_that_is_open_is_read_whatever_takes_its_name(private: Path, places: Places) -> None:
    (private / "spec.json").write_text("TOKEN")
    (places.model / "a").write_text("mine")
    for file in Results(None, LeftOut()).files(places.model):
        (places.model / "a").unlink()
        (places.model / "a").symlink_to(private / "spec.json")
        assert file.path.read_text() == "mine"


def test_files_of_other_users_are_named(store: MemoryStore, private: Path, places: Places) -> None:
    (places.model / "a").write_text("x")
    done = _upload(store, private, places, owner=os.getuid() + 1)
    assert done.left_out.reasons == ["'a': belongs to another user"]


def test_more_files_than_are_stored_are_counted(places: Places) -> None:
    for number in range(30):
        (places.model / f"{number:02d}").write_text("x")
    left_out = LeftOut(most_reasons=3)
    found = list(Results(None, left_out, most_files=10).files(places.model))
    assert (len(found), left_out.number, len(left_out.reasons)) == (10, 20, 3)


def test_folders_linked_in_many_ways_end(places: Places) -> None:
    below = places.model
    for _ in range(40):
        (below / "next").mkdir()
        (below / "again").symlink_to("next")
        below /= "next"
    left_out = LeftOut()
    assert list(Results(None, left_out, most_steps=2000).files(places.model)) == []
    assert left_out.reasons[-1] == "'model': holds more than 2000 names"


def test_twelve_thousand_results_are_all_stored_and_the_message_stays_small(
    store: MemoryStore, private: Path, places: Places
) -> None:
    for number in range(12_000):
        (places.output / f"{number:05d}").write_bytes(b"x")
    done = _upload(store, private, places)
    assert done.stored == Stored(files=12_000, size=12_000)
    assert len(done.artifacts) == MAX_ARTIFACTS
    manifest = json.loads(store.get(BUCKET, "jobs/j1/manifest/worker-0.1.json"))
    assert len({each["key"] for each in manifest}) == 12_000


READ_AS_OTHERS = [
    "${filename}",
    "x${filename}",
    "a\\b",
    "..\\..\\j2\\model\\x",
    "..\\..\\..\\packages\\x",
    "\\x",
    "x\\",
]


@pytest.mark.parametrize("name", READ_AS_OTHERS)
def test_a_name_that_a_store_reads_as_another_is_left_out_and_named(
    store: MemoryStore, private: Path, places: Places, name: str
) -> None:
    """SeaweedFS reads a backslash as a slash: it would replace a neighbour, or be refused."""
    (places.output / name).write_text("bad")
    (places.output / "a").mkdir()
    (places.output / "a/b").write_text("good")
    done = _upload(store, private, places)
    assert _keys(store, done) == {"output/a/b": b"good"}
    assert done.stored.left_out == 1
    assert "with a backslash" in done.stored.reasons[0]


def test_an_object_that_the_store_will_not_have_costs_itself_alone(
    store: MemoryStore, private: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, answers = store.put, [StorageUnavailable("away"), AccessDenied("expired")]

    def refusing(bucket: str, key: str, data: bytes | Path, **more: str) -> ObjectInfo:
        if key.endswith("late") and answers:
            raise answers.pop()
        if key.endswith("odd"):
            raise StorageError("HTTP 400: InvalidRequest")
        return put(bucket, key, data, **more)

    monkeypatch.setattr(store, "put", refusing)
    monkeypatch.setattr(patience, "_RETRY_S", 0.0)
    for name in ("late", "odd", "other"):
        (places.model / name).write_text(name)
    done = artifacts.upload(store, _spec(private), places, None, 600.0)
    assert list(_keys(store, done)) == ["model/late", "model/other"]
    assert done.left_out.reasons == ["'odd': the store refuses it: HTTP 400: InvalidRequest"]


def test_a_file_too_large_for_the_store_is_named_and_does_not_fail_the_job(
    store: MemoryStore, private: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    def refusing(bucket: str, key: str, data: bytes | Path, **more: str) -> ObjectInfo:
        if key.endswith("large"):
            raise TooLarge("larger than 5 bytes")
        return put(bucket, key, data, **more)

    monkeypatch.setattr(store, "put", refusing)
    (places.model / "large").write_text("123456")
    (places.model / "small").write_text("1")
    done = _upload(store, private, places)
    assert list(_keys(store, done)) == ["model/small"]
    assert done.left_out.reasons == ["'large': larger than 5 bytes"]


class Away(MemoryStore):
    """A store that does not answer the first requests."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.left = times
        self.ensure_bucket(BUCKET)

    def fetch(self, bucket: str, key: str, path: Path) -> None:
        self._look()
        super().fetch(bucket, key, path)

    def put(self, bucket: str, key: str, data: bytes | Path, **options: Any) -> ObjectInfo:
        self._look()
        return super().put(bucket, key, data, **options)

    def _look(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise StorageUnavailable("it starts again")


def _stored_checkpoint(store: MemoryStore, private: Path) -> None:
    saved = private / "saved"
    saved.mkdir()
    (saved / "step").write_text("20000")
    checkpoints.pack(saved, private / "a.tar.gz")
    MemoryStore.put(store, BUCKET, checkpoint_key("j1"), private / "a.tar.gz")


def test_a_store_that_is_away_for_a_moment_does_not_begin_a_job_anew(
    private: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_RETRY_S", 0.0)
    store = Away(2)
    _stored_checkpoint(store, private)
    assert checkpoints.restore(store, _spec(private), work)
    assert (work / "step").read_text() == "20000"


def test_a_store_that_stays_away_fails_the_member_rather_than_begin_a_job_anew(
    private: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FETCHING_S", 0.0)
    store = Away(math.inf)
    _stored_checkpoint(store, private)
    with pytest.raises(package.Unusable) as unusable:
        checkpoints.restore(store, _spec(private), work)
    assert unusable.value.infrastructure


def test_the_last_checkpoint_waits_for_a_store_that_is_away(
    private: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_RETRY_S", 0.0)
    (work / "step").write_text("7")
    store = Away(2)
    checkpoints.Saver(store, _spec(private), work).save(60.0)
    assert store.head(BUCKET, checkpoint_key("j1")) is not None


class _Ground:
    """A ground whose checkpoints no store takes, and whose second run cannot be prepared."""

    notes: ClassVar[list[str]] = []
    sees_all, owner = True, None

    def __init__(self, places: Places) -> None:
        self._places, self.runs = places, 0

    def broker_url(self) -> str:
        return "amqp://nobody"

    def record(self, _port: int) -> None:
        """Nobody looks."""

    def prepare(self) -> tuple[Places, Path]:
        return self._places, self._places.code / "main.py"

    def start(
        self, _order: Order, _output: int, ended: Callable[[RunningProgram], None]
    ) -> RunningProgram:
        self.runs += 1
        if self.runs > 1:
            raise package.Unusable("its checkpoints could not be fetched", infrastructure=True)
        done = _Done()
        ended(done)
        return done

    def save(self, _patience_s: float) -> None:
        raise TooLarge("larger than 5 GiB")

    def close(self, _end: PodExited | None) -> None:
        """Nothing is held."""


class _Done:
    exit_code, oom, fault, witnessed = 0, False, "", True

    def stop(self, _grace_s: float) -> None:
        """It has ended."""

    def kill(self) -> None:
        """It has ended."""

    def used(self) -> None:
        """Nobody measures it."""


class _Membership:
    """What a member tells; its news come from the test."""

    def __init__(self, _spec: MemberSpec, _url: object, news: Callable[[object], None], _: object):
        self.told: list[object] = []
        self.started = 0
        self.news = news

    def start(self, _port: int) -> None:
        self.started += 1

    def tell(self, message: object) -> None:
        self.told.append(message)

    def flush(self, _timeout_s: float) -> bool:
        return True

    def stop(self) -> None:
        """Nothing runs."""


@pytest.fixture
def launched(
    store: MemoryStore, private: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], tuple[Launcher, _Membership]]]:
    """Makes a launcher of a job of this type; its signal handlers end with the test."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(launcher_main, "Membership", _Membership)

    def make(kind: str) -> tuple[Launcher, _Membership]:
        places = Places(work, work, work, work)
        places.make()
        (places.model / "weights").write_bytes(b"trained")
        spec = _spec(private)
        spec = changed(spec, job=changed(spec.job, type=kind))
        launcher = Launcher(spec, store, _Ground(places))
        return launcher, cast("_Membership", launcher._membership)

    yield make
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_checkpoints_that_no_store_takes_keep_no_result_from_being_stored(
    launched: Callable[[str], tuple[Launcher, _Membership]], store: MemoryStore
) -> None:
    launcher, membership = launched("single")
    launcher.run()
    end = membership.told[-1]
    assert isinstance(end, PodExited)
    assert (end.exit_code, end.fault) == (0, "")
    assert store.get(BUCKET, "jobs/j1/model/weights") == b"trained"
    log = b"".join(store.get(BUCKET, o.key) for o in store.list(BUCKET, "jobs/j1/logs/"))
    assert b"the newest checkpoints could not be stored: larger than 5 GiB" in log


def test_a_second_run_that_cannot_begin_ends_the_member_and_is_told(
    launched: Callable[[str], tuple[Launcher, _Membership]],
) -> None:
    launcher, membership = launched("distribute")
    for epoch in (1, 2):
        membership.news(
            ClusterSpecReady(
                job_id="j1",
                epoch=epoch,
                cluster={Role.WORKER: ("127.0.0.1:1",)},
                members=(launcher._spec.member,),
            )
        )
    launcher.run()
    end = membership.told[-1]
    assert isinstance(end, PodExited)
    assert (end.fault, end.infrastructure) == ("its checkpoints could not be fetched", True)
    assert membership.started == 1


def test_a_launcher_whose_directory_was_deleted_ends(private: Path, tmp_path: Path) -> None:
    """Its store and broker are away, too, as where a whole state directory was deleted."""
    spec = _spec(private)
    away = changed(
        spec.credentials, broker_url="amqp://a:b@127.0.0.1:9", s3_url="http://127.0.0.1:9"
    )
    command = [sys.executable, "-m", "services.task.launcher"]
    said = tmp_path / "said"
    with (
        said.open("w") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
        ) as launcher,
    ):
        try:
            assert launcher.stdin is not None
            launcher.stdin.write(changed(spec, credentials=away).model_dump_json().encode())
            launcher.stdin.close()
            eventually((private / LAUNCHER_FILE).exists, "the launcher's note of itself")
            launcher.terminate()
            shutil.rmtree(private)
            eventually(lambda: launcher.poll() is not None, "the launcher's end")
        finally:
            launcher.kill()
    assert launcher.returncode == 1
    assert "directory_gone" in said.read_text()


def test_a_launcher_that_is_given_up_ends_its_program(
    launched: Callable[[str], tuple[Launcher, _Membership]],
) -> None:
    class Failing(_Done):
        def kill(self) -> None:
            ended.append("killed")
            raise OSError("no such process")

    ended: list[object] = []
    launcher, _ = launched("single")
    launcher._program = cast("RunningProgram", Failing())
    with pytest.raises(OSError, match="no such process"):
        launcher.abandon(ended.append)
    assert ended == ["killed", 1]


def test_a_report_that_fails_in_an_unforeseen_way_costs_itself_alone() -> None:
    class Broken:
        def __init__(self) -> None:
            self.published: list[object] = []

        def publish(self, messages: Sequence[object], *, timeout_s: float) -> None:
            if "bad" in messages:
                raise ValueError("no such encoding")
            self.published += messages

    membership: Any = object.__new__(Membership)
    membership._bus = bus = Broken()
    assert membership._published(["first", "bad", "last"])
    assert bus.published == ["first", "last"]
