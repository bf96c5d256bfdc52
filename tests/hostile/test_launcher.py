"""What launchers fetch and store: nothing is left for a program that is not its job's."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from services.task.launcher import artifacts, package
from services.task.launcher.artifacts import Uploaded
from services.task.launcher.environment import Places
from services.task.launcher.results import LeftOut, Results
from services.task.spec import Credentials, MemberSpec
from shared.contracts import MAX_ARTIFACTS, JobSubmit, Member, Role, Stored
from shared.packages import pack
from shared.storage import MemoryStore, ObjectInfo, TooLarge

BUCKET = "barograph"


def _spec(private: Path, digest: str | None = None) -> MemberSpec:
    submit = JobSubmit(
        job_id="j1",
        name="digits",
        package="barograph:packages:p.tar.gz",
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
