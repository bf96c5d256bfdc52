"""``shared.client`` before a server that is not Barograph, or no longer means well."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from shared.client import (
    BadInputError,
    Client,
    ClientError,
    RefusedError,
    UnreachableError,
    packages,
    submitting,
    transfers,
)
from shared.client import connection as connections
from shared.client.answers import Submitted
from shared.contracts import JobPlanned

TOKEN = "s3cret-token"


@dataclass
class Stranger:
    """A server that gives one answer to everything, and keeps what it was asked."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def serve() -> Iterator[Callable[[], Stranger]]:
    servers = []

    def begin() -> Stranger:
        made = Stranger()

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                made.asked.append((self.path, self.headers.get("authorization", "")))
                self.send_response(made.status)
                for name, value in made.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(made.body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the other side has had enough
                    self.wfile.write(made.body)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the server's own names

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        made.url = f"http://127.0.0.1:{server.server_port}"
        return made

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def client(stranger: Stranger) -> Client:
    return Client(stranger.url, TOKEN, healer_url=stranger.url, healer_token=TOKEN)


def everything(barograph: Client, folder: Path) -> dict[str, Callable[[], object]]:
    package = folder / "package.tar.gz"
    package.write_bytes(b"x")
    hour = timedelta(hours=1)
    return {
        "submit": lambda: barograph.submit(main="main.py"),
        "upload": lambda: barograph.upload(package),
        "plan": lambda: barograph.plan(main="main.py"),
        "job": lambda: barograph.job("j"),
        "jobs": lambda: list(barograph.jobs()),
        "wait": lambda: barograph.wait("j", 0),
        "logs": lambda: list(barograph.logs("j")),
        "follow": lambda: list(barograph.follow("j")),
        "results": lambda: list(barograph.results("j")),
        "get": lambda: list(barograph.get("j", folder / "got")),
        "alerts": barograph.alerts,
        "silences": barograph.silences,
        "silence": lambda: barograph.silence(['host="a"'], hour, "r"),
        "preview": lambda: barograph.preview(['host="a"'], hour),
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>It works!</html>",
        b"null",
        b"7",
        b'["job"]',
        b'{"jobs": 7, "files": {}, "answer": 1, "job_id": [], "request_id": null}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"event: log\ndata: nothing\n\n",
        b"event: log\ndata: [1]\n\n",
        b'event: log\ndata: {"member": 7}\n\n',
    ],
)
def test_an_answer_that_is_not_barographs_is_an_error_of_the_client(
    serve: Callable[[], Stranger], tmp_path: Path, body: bytes
) -> None:
    stranger = serve()
    stranger.body = body
    with client(stranger) as barograph:
        for name, act in everything(barograph, tmp_path).items():
            with pytest.raises(UnreachableError):
                pytest.fail(f"{name}: {act()}")


def test_no_redirect_is_followed_and_no_other_host_sees_the_token(
    serve: Callable[[], Stranger], tmp_path: Path
) -> None:
    stranger, other = serve(), serve()
    stranger.status, stranger.headers = 302, {"location": f"{other.url}/login"}
    with client(stranger) as barograph:
        for act in everything(barograph, tmp_path).values():
            with pytest.raises(UnreachableError, match=f"leads on to {other.url}/login"):
                act()
    assert {token for _, token in stranger.asked} == {f"Bearer {TOKEN}"}
    assert not other.asked


def test_an_answer_that_unpacks_to_more_than_any_is_not_held(
    serve: Callable[[], Stranger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MAX_BYTES", 2**20)
    stranger = serve()
    stranger.headers = {"content-encoding": "gzip"}
    stranger.body = gzip.compress(bytes(2**25))
    with client(stranger) as barograph, pytest.raises(UnreachableError, match="more than 1048576"):
        barograph.job("j")


def test_a_folder_that_is_no_package_is_named_before_anybody_is_asked(
    serve: Callable[[], Stranger], tmp_path: Path
) -> None:
    server = serve()
    (tmp_path / "übung 1/code").mkdir(parents=True)
    (tmp_path / "übung 1/code/train.py").write_text("")
    with Client(server.url, TOKEN) as barograph:
        with pytest.raises(BadInputError, match=r"no main program main\.py; there is 'train\.py'"):
            barograph.submit(tmp_path / "übung 1")
        archive = tmp_path / "p.zip"
        archive.write_bytes(b"PK\x03\x04" + bytes(100))
        with pytest.raises(BadInputError, match="zip"):
            barograph.submit(archive, main="main.py")
    assert server.asked == []


@pytest.mark.parametrize("runtime", ["local", "kubernetes"])
def test_a_program_that_this_machines_python_cannot_read_is_refused_where_it_would_run(
    runtime: str, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.py").write_text("def broken(:\n")
    plan = JobPlanned.model_construct(runtime=runtime, faults=())
    refused = pytest.raises(RefusedError, match=r"main: main\.py, line 1")
    with refused if runtime == "local" else contextlib.nullcontext():
        packages.refuse_syntax(plan, tmp_path, "main.py")


def test_what_is_no_text_is_no_id_and_asks_nobody(
    serve: Callable[[], Stranger], tmp_path: Path
) -> None:
    stranger = serve()
    with client(stranger) as barograph:
        acts = (barograph.job, barograph.cancel, barograph.remove, barograph.acknowledge)
        for act in (*acts, barograph.end_silence, lambda text: list(barograph.jobs([text]))):
            with pytest.raises(BadInputError):
                act("\udcff")
    assert not stranger.asked


@pytest.mark.parametrize(
    "place",
    [
        "",
        "file:///etc/passwd",
        "//elsewhere/x",
        "x",
        "http://[",
        "http://h:x/",
        "http://127.0.0.1:99999/",
        "http://xn--a/",
    ],
)
def test_a_result_comes_from_where_an_address_leads_or_not_at_all(
    serve: Callable[[], Stranger], pauses: list[float], tmp_path: Path, place: str
) -> None:
    stranger = serve()
    stranger.status, stranger.headers = 307, {"location": place}
    with client(stranger) as barograph:
        target = tmp_path / "file"
        with pytest.raises(ClientError):
            packages.download(barograph.jobs_api, "j", "model/a", target, 3, None)
    assert not target.exists()


def test_a_file_that_does_not_end_is_left_once_it_is_longer_than_it_was_said_to_be(
    serve: Callable[[], Stranger], tmp_path: Path
) -> None:
    store = serve()
    store.body = bytes(2**22)
    target = tmp_path / "file"
    size, _ = transfers.fetch(store.url, target, 10)
    assert 10 < size < 2**22
    stranger = serve()
    stranger.status, stranger.headers = 307, {"location": store.url}
    with (
        client(stranger) as barograph,
        pytest.raises(RefusedError, match="not what the job stored"),
    ):
        packages.download(barograph.jobs_api, "j", "model/a", tmp_path / "b", 10, None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert all(token == "" for _, token in store.asked)


class Forgetful:
    """An API whose answers to these first submits are lost."""

    def __init__(self, lost: int) -> None:
        self.lost, self.jobs = lost, dict[str, int]()

    def ask(self, kind: type[Submitted], method: str, path: str, *, json: Any) -> Submitted:
        assert (method, path) == ("POST", "/jobs")
        known = json["job_id"] in self.jobs
        self.jobs[json["job_id"]] = self.jobs.get(json["job_id"], 0) + 1
        if self.lost:
            self.lost -= 1
            raise UnreachableError("the answer timed out")
        return kind(job_id=json["job_id"], known=known)


@pytest.mark.parametrize(
    ("given", "known"), [({}, False), ({"job_id": ""}, False), ({"job_id": "mine"}, True)]
)
def test_a_submit_whose_answer_was_lost_is_one_job(
    given: dict[str, str], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "_PAUSE_S", 0.0)
    api: Any = Forgetful(2)
    taken = submitting.submitted(api, {"name": "n", **given})
    assert api.jobs == {taken.job_id: 3}
    assert taken.known is known


def test_a_submit_that_nobody_answers_names_the_job_it_may_have_become(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submitting, "_PAUSE_S", 0.0)
    api: Any = Forgetful(100)
    with pytest.raises(UnreachableError) as error:
        submitting.submitted(api, {"name": "n"})
    (job_id,) = api.jobs
    assert job_id in str(error.value)


class Flaky:
    """An object store's door that breaks off, or has too much to do, before it does its work.

    ``troubles``: what it does with one request after the other: a status, or a number of bytes
    after which the connection is cut (negative, so that it differs from a status).
    """

    def __init__(self, body: bytes, troubles: list[int], *, ranges: bool = True) -> None:
        self.body, self.troubles, self.ranges = body, troubles, ranges
        self.asked: list[str] = []
        self.put: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                got = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.asked.append(self.headers.get("range", ""))
                trouble = outer.troubles.pop(0) if outer.troubles else 200
                if trouble > 0 and trouble != 200:
                    self.send_response(trouble)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                if trouble < 0 and self.command == "PUT":
                    self.close_connection = True
                    return
                if self.command == "PUT":
                    outer.put.append(got)
                start = int((self.headers.get("range") or "bytes=0-")[6:-1])
                start = start if outer.ranges else 0
                self.send_response(206 if start else 200)
                if start:
                    whole = len(outer.body)
                    self.send_header("content-range", f"bytes {start}-{whole - 1}/{whole}")
                rest = outer.body[start:]
                self.send_header("content-length", str(len(rest)))
                self.end_headers()
                self.wfile.write(rest[:-trouble] if trouble < 0 else rest)
                self.close_connection = True

            do_GET = do_PUT = answer  # noqa: N815 - the server's own names

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/x"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(transfers.time, "sleep", made.append)
    return made


@pytest.mark.parametrize("troubles", [[503], [-1], [500, 429, -1, 408], [502, 503, 504]])
def test_a_link_that_breaks_for_a_moment_ends_no_upload(
    pauses: list[float], troubles: list[int]
) -> None:
    with Flaky(b"", [*troubles]) as store:
        transfers.put_part(store.url, b"part")
    assert store.put == [b"part"]
    assert len(pauses) == len(troubles)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("troubles", [[503], [-100], [-70_000, 503, -100], [-1] * 5])
def test_a_result_is_fetched_on_where_the_link_broke(
    pauses: list[float], tmp_path: Path, troubles: list[int], ranges: bool
) -> None:
    body = bytes(range(256)) * 1000
    with Flaky(body, [*troubles], ranges=ranges) as store:
        size, digest = transfers.fetch(store.url, tmp_path / "got", len(body))
    assert (size, digest) == (len(body), hashlib.sha256(body).hexdigest())
    assert (tmp_path / "got").read_bytes() == body
    assert store.asked[0] == ""
    assert len(pauses) == len(troubles)


def test_a_link_that_stays_broken_is_named_with_what_to_do(
    pauses: list[float], tmp_path: Path
) -> None:
    with Flaky(b"body", [503] * 50) as store:
        with pytest.raises(UnreachableError, match="the same command continues it"):
            transfers.put_part(store.url, b"part")
        with pytest.raises(UnreachableError, match="not fetched whole"):
            transfers.fetch(store.url, tmp_path / "got", 4)


def test_a_refusal_of_the_store_is_final(pauses: list[float], tmp_path: Path) -> None:
    with Flaky(b"body", [403, 404]) as store:
        with pytest.raises(RefusedError, match="403"):
            transfers.put_part(store.url, b"part")
        with pytest.raises(RefusedError, match="404"):
            transfers.fetch(store.url, tmp_path / "got", 4)
    assert pauses == []


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "\t{}", "{}\r"])
def test_what_a_file_or_a_shell_adds_around_address_and_token_is_none_of_them(
    serve: Callable[[], Stranger], around: str
) -> None:
    server = serve()
    server.body = b"{}"
    url = server.url.replace("http", "HTTP") + "/"
    with Client(around.format(url), around.format(TOKEN)) as barograph:
        barograph.jobs_api.call("GET", "/x")
    assert server.asked == [("/api/v1/x", f"Bearer {TOKEN}")]


@pytest.mark.parametrize("inside", ["\n", "\r\n", " ", "\x00", "\x7f", "é", "\u200b", "\udcff"])
def test_a_token_that_cannot_be_sent_is_named_and_not_shown(
    serve: Callable[[], Stranger], inside: str
) -> None:
    server = serve()
    token = f"s3cret{inside}t0ken"
    barograph = Client(server.url, token, healer_url=server.url, healer_token=token)
    for act in (barograph.jobs, barograph.alerts):
        with pytest.raises(BadInputError, match="the token is not usable") as error:
            list(act())
        assert "s3cret" not in str(error.value)
        assert "t0ken" not in str(error.value)
    assert server.asked == []
