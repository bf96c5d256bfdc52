"""What launchers fetch and store: nothing is left for a program that is not its job's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.task.launcher import package
from services.task.spec import Credentials, MemberSpec
from shared.contracts import JobSubmit, Member, Role
from shared.packages import pack
from shared.storage.memory import MemoryStore

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
