"""One suite for every object store: the real S3 server and the fake must behave alike."""

from __future__ import annotations

import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from shared.storage import (
    PART_BYTES,
    AccessDenied,
    AlreadyExists,
    Incomplete,
    MemoryStore,
    NotFound,
    ObjectStore,
    PresignedAccess,
    PresignedPrefix,
    PresignedStore,
    S3Store,
    StorageUnavailable,
    is_storable,
)
from shared.storage.s3_client import translated
from tests.conftest import ObjectStoreUnderTest


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    server: ObjectStoreUnderTest = request.getfixturevalue("object_store")
    return S3Store(server.url, server.access_key, server.secret_key)


@pytest.fixture
def bucket(store: ObjectStore) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    store.ensure_bucket(name)
    return name


def _send(store: ObjectStore, url: str, data: bytes) -> None:
    """What a client without credentials does with a presigned URL."""
    if isinstance(store, MemoryStore):
        store.accept(url, data)
    else:
        httpx.put(url, content=data, timeout=60).raise_for_status()


def test_an_object_is_read_back_as_it_was_put(store: ObjectStore, bucket: str) -> None:
    info = store.put(bucket, "a/b.bin", b"12345")
    assert store.get(bucket, "a/b.bin") == b"12345"
    assert store.head(bucket, "a/b.bin") == info
    assert info.size == 5
    assert info.sha256 is not None


def test_ensuring_a_bucket_twice_is_harmless(store: ObjectStore, bucket: str) -> None:
    store.put(bucket, "k", b"x")
    store.ensure_bucket(bucket)
    assert store.get(bucket, "k") == b"x"


def test_a_missing_object_is_not_found(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    assert store.head(bucket, "none") is None
    with pytest.raises(NotFound):
        store.get(bucket, "none")
    with pytest.raises(NotFound):
        store.fetch(bucket, "none", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bucket_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        store.get("no-such-bucket", "k")


def test_keys_are_listed_in_order_below_a_prefix(store: ObjectStore, bucket: str) -> None:
    for key in ("p/2", "p/1", "q/1", "p/10"):
        store.put(bucket, key, key.encode())
    assert [info.key for info in store.list(bucket, "p/")] == ["p/1", "p/10", "p/2"]


ODD_NAMES = [
    *("a b", "b ", " c", "d+e", "f%2fg", "%2e%2e", "..h", "i..", "...", "j?k#l", "m;n=o", "p&q"),
    *("*", "r'\"<>|:", "~", "-rf", "\u202f", "\u00a0", "\u2028", "\u200d", "e\u0301", "\u00e9"),
    *("\u78c1.h5", "s" * 255),
]


def test_every_storable_name_is_an_object_of_its_own(store: ObjectStore, bucket: str) -> None:
    assert all(map(is_storable, ODD_NAMES))
    for number, name in enumerate(ODD_NAMES):
        store.put(bucket, f"jobs/odd/{name}", str(number).encode())
    listed = [info.key.removeprefix("jobs/odd/") for info in store.list(bucket, "jobs/odd/")]
    assert sorted(listed) == sorted(ODD_NAMES)
    for number, name in enumerate(ODD_NAMES):
        assert store.get(bucket, f"jobs/odd/{name}") == str(number).encode()


def test_deleting_is_harmless_for_what_is_not_there(store: ObjectStore, bucket: str) -> None:
    store.put(bucket, "k", b"x")
    store.delete(bucket, ["k", "never"])
    assert store.head(bucket, "k") is None


def test_an_object_is_written_only_if_absent_when_asked(store: ObjectStore, bucket: str) -> None:
    store.put(bucket, "k", b"first", only_if_absent=True)
    with pytest.raises(AlreadyExists):
        store.put(bucket, "k", b"second", only_if_absent=True)
    assert store.get(bucket, "k") == b"first"


def test_a_large_file_goes_and_comes_whole_and_shows_progress(
    store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    data = bytes(range(256)) * (PART_BYTES // 128)
    (tmp_path / "in").write_bytes(data)
    sent: list[int] = []
    store.put(bucket, "large", tmp_path / "in", progress=sent.append)
    store.fetch(bucket, "large", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert sum(sent) == len(data)


def test_a_client_without_credentials_uploads_in_parts_and_continues(
    store: ObjectStore, bucket: str
) -> None:
    size = 2 * PART_BYTES + 5
    data = b"ab" * (size // 2) + b"z"
    begun = store.begin_upload(bucket, "up", size)
    assert len(begun.parts) == 3
    pieces = [data[i : i + begun.part_bytes] for i in range(0, size, begun.part_bytes)]
    _send(store, begun.parts[0], pieces[0])

    again = store.begin_upload(bucket, "up", size)
    assert again.upload_id == begun.upload_id
    assert again.done == (1,)
    for number in (2, 3):
        _send(store, again.parts[number - 1], pieces[number - 1])
    assert store.finish_upload(bucket, "up", again.upload_id).size == size
    assert store.get(bucket, "up") == data


def test_an_upload_that_is_not_whole_is_not_finished_and_can_be_given_up(
    store: ObjectStore, bucket: str
) -> None:
    begun = store.begin_upload(bucket, "up", PART_BYTES + 5)
    _send(store, begun.parts[1], b"12345")
    with pytest.raises(Incomplete):
        store.finish_upload(bucket, "up", begun.upload_id, PART_BYTES + 5)
    assert store.begin_upload(bucket, "up", PART_BYTES + 5).done == (2,)
    store.abort_upload(bucket, "up")
    store.abort_upload(bucket, "up")
    with pytest.raises(NotFound):
        store.finish_upload(bucket, "up", begun.upload_id, PART_BYTES + 5)
    assert store.head(bucket, "up") is None


def test_an_object_is_copied_and_read_piece_by_piece(store: ObjectStore, bucket: str) -> None:
    data = bytes(range(256)) * 9_000
    store.put(bucket, "a/from", data)
    store.copy(bucket, "a/from", "b/to")
    store.delete(bucket, ["a/from"])
    assert b"".join(store.stream(bucket, "b/to")) == data
    for act in (
        lambda: store.copy(bucket, "none", "x"),
        lambda: list(store.stream(bucket, "none")),
    ):
        with pytest.raises(NotFound):
            act()


@pytest.mark.parametrize("size", [4, 6, 30 * 2**20])
def test_the_real_server_takes_no_part_of_another_size(
    object_store: ObjectStoreUnderTest, size: int
) -> None:
    store = S3Store(object_store.url, object_store.access_key, object_store.secret_key)
    store.ensure_bucket("sized")
    begun = store.begin_upload("sized", f"up-{size}", 5)
    assert httpx.put(begun.parts[0], content=b"x" * size, timeout=60).is_client_error
    assert store.begin_upload("sized", f"up-{size}", 5).done == ()


def test_an_upload_without_parts_cannot_be_finished(store: ObjectStore, bucket: str) -> None:
    begun = store.begin_upload(bucket, "up", 10)
    with pytest.raises(NotFound):
        store.finish_upload(bucket, "up", begun.upload_id)


def test_a_presigned_url_writes_its_object(store: ObjectStore, bucket: str) -> None:
    _send(store, store.presign_put(bucket, "k"), b"data")
    assert store.get(bucket, "k") == b"data"


def test_the_real_server_refuses_a_wrong_secret(object_store: ObjectStoreUnderTest) -> None:
    stranger = S3Store(object_store.url, object_store.access_key, "wrong")
    with pytest.raises(AccessDenied):
        stranger.put("barograph", "k", b"x")


def test_presigned_urls_lead_where_their_users_reach_the_server(
    object_store: ObjectStoreUnderTest,
) -> None:
    # The same server under another name, as from outside a cluster.
    outside = object_store.url.replace("127.0.0.1", "localhost")
    store = S3Store(
        object_store.url, object_store.access_key, object_store.secret_key, public_url=outside
    )
    store.ensure_bucket("outside")

    begun = store.begin_upload("outside", "k", 4)

    assert begun.parts[0].startswith(f"{outside}/outside/k?")
    httpx.put(begun.parts[0], content=b"data", timeout=60).raise_for_status()
    store.finish_upload("outside", "k", begun.upload_id)
    assert store.get("outside", "k") == b"data"


def test_the_real_server_refuses_a_changed_presigned_url(
    object_store: ObjectStoreUnderTest,
) -> None:
    store = S3Store(object_store.url, object_store.access_key, object_store.secret_key)
    store.ensure_bucket("signed")
    store.put("signed", "mine", b"x")
    store.put("signed", "secret", b"y")
    url = store.presign_get("signed", "mine")
    assert httpx.get(url, timeout=60).content == b"x"
    assert httpx.get(url.replace("/mine", "/secret"), timeout=60).status_code == 403


def test_a_server_on_this_machine_is_reached_past_the_environments_proxy(
    object_store: ObjectStoreUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    store = S3Store(object_store.url, object_store.access_key, object_store.secret_key)
    store.ensure_bucket("past-the-proxy")


def test_a_server_that_is_away_is_told_from_one_that_refuses() -> None:
    with pytest.raises(StorageUnavailable):
        S3Store("http://127.0.0.1:9", "a", "b").get("bucket", "k")


def test_an_interrupted_upload_of_a_file_continues(
    object_store: ObjectStoreUnderTest, tmp_path: Path
) -> None:
    store = S3Store(object_store.url, object_store.access_key, object_store.secret_key)
    store.ensure_bucket("resume")
    (tmp_path / "f").write_bytes(bytes(3 * PART_BYTES))

    class CutOffError(Exception):
        pass

    def stop_after_two(_sent: int) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise CutOffError

    calls: list[int] = []
    with pytest.raises(CutOffError):
        store.put("resume", "f", tmp_path / "f", progress=stop_after_two)
    assert store.begin_upload("resume", "f", 3 * PART_BYTES).done == (1, 2)
    assert store.put("resume", "f", tmp_path / "f").size == 3 * PART_BYTES


def test_a_smaller_file_does_not_end_in_what_was_left_of_a_larger_one(
    object_store: ObjectStoreUnderTest, tmp_path: Path
) -> None:
    store = S3Store(object_store.url, object_store.access_key, object_store.secret_key)
    store.ensure_bucket("shrunk")
    larger, smaller = tmp_path / "larger", tmp_path / "smaller"
    larger.write_bytes(b"a" * (3 * PART_BYTES + 1))
    smaller.write_bytes(b"b" * (PART_BYTES + 1))
    begun = store.begin_upload("shrunk", "f", larger.stat().st_size)
    for part in begun.parts:
        size = PART_BYTES if part != begun.parts[-1] else 1
        httpx.put(part, content=b"a" * size, timeout=60).raise_for_status()

    assert store.put("shrunk", "f", smaller).size == smaller.stat().st_size

    assert store.get("shrunk", "f") == smaller.read_bytes()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "ErrTooManyRequest"),
        (408, "408"),
        (400, "RequestTimeout"),
        (403, "RequestTimeTooSkewed"),
        (503, "SlowDown"),
    ],
)
def test_a_store_that_is_busy_or_has_another_clock_is_asked_again(status: int, code: str) -> None:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(StorageUnavailable), translated("key"):
        raise ClientError(answer, "PutObject")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_presigned_access_asks_a_busy_store_again(status: int) -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        writes = PresignedPrefix(url, {}, "b", "jobs/j/", expires_at=0.0)
        store = PresignedStore(lambda: PresignedAccess(writes, {}))
        with pytest.raises(StorageUnavailable):
            store.put("b", "jobs/j/k", b"x")
        server.shutdown()
