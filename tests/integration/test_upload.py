"""Uploads that break off are continued, over HTTP and a real S3 server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.client.alerts.model import AlertModel
from services.client.api.app import create_app
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.questions import Questions
from services.client.settings import ClientSettings
from shared.client import BadInputError, Client
from shared.client.memory import UploadMemory
from shared.embedded.process import LOOPBACK
from shared.service.http import HttpServer
from shared.storage import S3Store
from shared.store import Store
from tests.conftest import ObjectStoreUnderTest

SIZE = 20_000_000


class Silent:
    """Publishes nothing: uploads need no messages."""

    def publish(self, messages: object, *, cause: object = None) -> None:
        raise AssertionError(messages, cause)


class CutError(Exception):
    """The user's machine goes away."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def objects(object_store: ObjectStoreUnderTest) -> S3Store:
    return S3Store(object_store.url, object_store.access_key, object_store.secret_key)


@pytest.fixture
def url(objects: S3Store) -> Iterator[str]:
    store = Store("sqlite://")
    model = ReadModel(store)
    app = create_app(
        ClientSettings(),
        Silent(),
        model,
        AlertModel(store),
        objects,
        Logs(model, objects, "barograph"),
        Followers(),
        Questions(Silent()),
    )
    server = HttpServer(app, LOOPBACK, 0)
    server.start()
    yield server.url
    server.stop()
    store.close()


def package(tmp_path: Path, seed: int) -> tuple[Path, str]:
    import numpy as np

    path = tmp_path / "package.tar.gz"
    path.write_bytes(np.random.default_rng(seed).bytes(SIZE))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_interrupted_upload_sends_only_what_is_missing(
    url: str, objects: S3Store, tmp_path: Path
) -> None:
    path, digest = package(tmp_path, 1)

    def cut(_bytes: int) -> None:
        raise CutError

    with Client(url) as barograph, pytest.raises(CutError):
        barograph.upload_archive(path, digest, progress=cut)
    kept = UploadMemory(digest).recall()
    asked = {"sha256": digest, "size": SIZE, "upload_id": kept}
    begun = httpx.post(f"{url}/api/v1/uploads", json=asked, timeout=60).json()
    assert begun["done"] == [1]
    assert len(begun["parts"]) > 1

    seen: list[int] = []
    with Client(url) as barograph:
        name = barograph.upload_archive(path, digest, progress=seen.append)
    assert sum(seen) == SIZE
    assert name == f"barograph:packages:{digest}.tar.gz"
    objects.fetch("barograph", f"packages/{digest}.tar.gz", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert httpx.post(f"{url}/api/v1/uploads", json=asked, timeout=60).json()["exists"]


def test_a_package_that_changed_on_the_way_is_refused_and_not_kept(
    url: str, objects: S3Store, tmp_path: Path
) -> None:
    path, _ = package(tmp_path, 2)
    wrong = hashlib.sha256(b"something else").hexdigest()
    with Client(url) as barograph, pytest.raises(BadInputError, match="digest"):
        barograph.upload_archive(path, wrong)
    assert objects.head("barograph", f"packages/{wrong}.tar.gz") is None
