"""Tests of what a pod may do with presigned access, against the real object store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shared.storage import (
    AccessDenied,
    NotFound,
    PresignedAccess,
    PresignedStore,
    S3Store,
    StorageError,
    StorageUnavailable,
)
from tests.conftest import ObjectStoreUnderTest

_MAX_BYTES = 100_000


@pytest.fixture
def owner(object_store: ObjectStoreUnderTest) -> S3Store:
    store = S3Store(object_store.url, object_store.access_key, object_store.secret_key)
    store.ensure_bucket("pods")
    return store


def _access(owner: S3Store, expires_s: int = 600) -> PresignedAccess:
    return PresignedAccess(
        writes=owner.presign_prefix("pods", "jobs/a/", expires_s, _MAX_BYTES),
        reads={"pods/jobs/a/in": owner.presign_get("pods", "jobs/a/in")},
    )


def test_objects_below_the_prefix_are_stored_as_they_are(owner: S3Store, tmp_path: Path) -> None:
    access = _access(owner)
    store = PresignedStore(lambda: access)
    data = bytes(range(256)) * 100
    (tmp_path / "f").write_bytes(data)

    stored = store.put("pods", "jobs/a/model/ä b.bin", tmp_path / "f")
    store.put("pods", "jobs/a/log", b"zeile\r\n--x\r\n", content_type="text/plain")

    assert stored.size == len(data)
    assert owner.get("pods", "jobs/a/model/ä b.bin") == data
    assert owner.get("pods", "jobs/a/log") == b"zeile\r\n--x\r\n"


def test_what_may_be_read_is_fetched_and_nothing_else(owner: S3Store, tmp_path: Path) -> None:
    access = _access(owner)
    store = PresignedStore(lambda: access)
    with pytest.raises(NotFound):
        store.fetch("pods", "jobs/a/in", tmp_path / "in")
    owner.put("pods", "jobs/a/in", b"package")
    store.fetch("pods", "jobs/a/in", tmp_path / "in")
    assert (tmp_path / "in").read_bytes() == b"package"
    with pytest.raises(AccessDenied):
        store.fetch("pods", "jobs/b/in", tmp_path / "other")
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


def test_the_server_itself_refuses_what_lies_outside_the_prefix(owner: S3Store) -> None:
    access = _access(owner)
    with pytest.raises(AccessDenied):
        PresignedStore(lambda: access).put("pods", "jobs/b/x", b"x")
    # A client that does not check: the signed policy does.
    forged = replace(access, writes=replace(access.writes, prefix="jobs/"))
    with pytest.raises(AccessDenied):
        PresignedStore(lambda: forged).put("pods", "jobs/b/x", b"x")
    assert owner.head("pods", "jobs/b/x") is None


def test_too_large_an_object_and_an_expired_form_are_refused(owner: S3Store) -> None:
    access = _access(owner)
    with pytest.raises(StorageError):
        PresignedStore(lambda: access).put("pods", "jobs/a/big", bytes(_MAX_BYTES + 1))
    old = _access(owner, expires_s=-10)
    with pytest.raises(AccessDenied):
        PresignedStore(lambda: old).put("pods", "jobs/a/late", b"x")
    assert owner.head("pods", "jobs/a/late") is None


def test_a_store_that_is_away_is_told_as_such() -> None:
    away = S3Store("http://127.0.0.1:9", "a", "b")
    access = _access(away)
    with pytest.raises(StorageUnavailable):
        PresignedStore(lambda: access).put("pods", "jobs/a/x", b"x")
