"""What strangers send to the client's HTTP door costs them an answer below 500, and nobody more."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import re
import socket
import sqlite3
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from services.client import handlers, model
from services.client.api import logs, packages, pages
from services.client.model import ReadModel
from services.client.projects import ALL
from shared.contracts import JobFailed
from shared.service import bodies
from shared.service import http as served
from shared.service.http import HttpServer
from shared.store import Store, StoreUnavailable
from tests.unit.client.test_api import JOB, Desk, event

TOKEN = {"Authorization": "Bearer right"}


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(api_token="right")
    made.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    yield made
    made.store.close()


FORMS = (
    "/login",
    "/logout",
    "/alerts/acknowledge",
    "/alerts/judge",
    "/silences/draft",
    "/silences/new",
    "/healing/stop",
    "/channels/{name}/test",
)


def operations(desk: Desk) -> list[tuple[str, str, dict[str, Any]]]:
    """Every method and path of the API, with the pages'."""
    told = desk.call("GET", "/api/v1/openapi.json", headers=TOKEN).json()
    found = [
        (method.upper(), path, what)
        for path, methods in told["paths"].items()
        for method, what in methods.items()
    ]
    pages = [("GET", path, {}) for path in ("/", "/jobs/{job_id}", "/silences", "/audit")]
    return [*found, *pages, *(("POST", path, {}) for path in FORMS)]


def asked(desk: Desk, method: str, path: str, pieces: Iterator[bytes], **headers: str):
    """Status, and how many bytes of the body were taken, of a request sent piece by piece."""
    taken = 0
    answered: list[int] = []

    async def receive() -> Message:
        nonlocal taken
        piece = next(pieces, None)
        if piece is None:
            await asyncio.Event().wait()  # nothing ever comes
        taken += len(piece or b"")
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(b"host", b"localhost")]
        + [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(desk.transport.app(scope, receive, send))
    return answered[0], taken


def endless() -> Iterator[bytes]:
    while True:
        yield b"a" * 2**16


def test_no_route_reads_a_body_before_it_knows_who_asks(desk: Desk) -> None:
    for method, path, _ in operations(desk):
        if method not in {"GET", "HEAD"} and path != "/login":
            assert asked(desk, method, path, endless()) == (401, 0), path


def test_no_route_takes_more_than_its_bound(desk: Desk) -> None:
    for method, path, _ in operations(desk):
        if method in {"GET", "HEAD"} or path == packages.PATH:
            continue
        most = bodies.MAX_BYTES_OF_A_FORM if path == "/login" else bodies.MAX_BYTES
        status, taken = asked(desk, method, path, endless(), authorization="Bearer right")
        assert status == 413, path
        assert taken <= most + 2**16, path
        declared = str(800 * 2**20)
        status, taken = asked(
            desk, method, path, endless(), authorization="Bearer right", content_length=declared
        )
        assert (status, taken) == (413, 0), path


PACKAGE_BYTES = 100_000


@pytest.mark.parametrize(
    ("declared", "status", "most"),
    [
        ("", 411, 0),
        ("-1", 411, 0),
        (str(PACKAGE_BYTES + 1), 413, 0),
        ("9" * 5_000, 413, 0),
        ("1", 413, PACKAGE_BYTES + 2**16),
        ("0" * 5_000 + "9" * 20, 413, PACKAGE_BYTES + 2**16),
    ],
)
def test_a_package_says_how_long_it_is_and_is_not_believed(
    declared: str, status: int, most: int
) -> None:
    desk = Desk(api_token="right", max_page_upload_bytes=PACKAGE_BYTES)
    headers = {"content_length": declared} if declared else {}
    answered, taken = asked(
        desk, "PUT", packages.PATH, endless(), authorization="Bearer right", **headers
    )
    assert answered == status
    assert taken <= most
    desk.store.close()


def test_only_the_package_route_is_asked_before_its_body_is_read(desk: Desk) -> None:
    for method, path in (("POST", packages.PATH), ("PUT", packages.PATH + "/")):
        status, taken = asked(desk, method, path, endless(), authorization="Bearer right")
        assert status in {405, 413}
        assert taken <= bodies.MAX_BYTES + 2**16


def test_a_body_that_never_ends_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "WITHIN_S", 0.05)
    assert asked(desk, "POST", "/login", iter([b"token="]))[0] == 408


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 5_000, "", "٣"])
def test_a_length_that_is_none_is_refused(desk: Desk, length: str) -> None:
    assert asked(desk, "POST", "/login", endless(), content_length=length)[0] == 413


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000@evil.example",
        "127.0.0.1:@evil.example",
        "127.0.0.1:8000/evil",
        "127.0.0.1:8000?evil",
        "127.0.0.1:8000#evil",
        "127.0.0.1:80:80",
        "127.0.0.1:x",
        "[127.0.0.1]@evil.example",
        " 127.0.0.1",
        "",
    ],
)
def test_nothing_but_a_port_stands_behind_the_name_of_a_host(host: str) -> None:
    """The redirect from /jobs/ to /jobs names the whole header as the place to go."""
    desk = Desk()
    answer = desk.call("GET", "/jobs/", headers={"host": host})
    assert (answer.status_code, answer.headers.get("location")) == (400, None)
    desk.store.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "LOCALHOST:65535"])
def test_a_host_is_known_with_any_port_and_in_any_case(host: str) -> None:
    desk = Desk()
    assert desk.call("GET", "/jobs", headers={"host": host}).status_code == 200
    desk.store.close()


@pytest.mark.parametrize("origin", ["http://[", "http://]", "//", "null", "http://localhost@evil"])
def test_an_origin_that_is_none_of_ours_is_refused(desk: Desk, origin: str) -> None:
    for path in ("/login", "/api/v1/jobs"):
        answer = desk.call("POST", path, json=JOB, headers=TOKEN | {"Origin": origin})
        assert answer.status_code == 403


UNUSABLE = {
    "half a surrogate pair": b'{"name": "\\ud800"}',
    "half a surrogate pair in a name": b'{"\\ud800": 1}',
    "a NUL character": b'{"args": ["a\\u0000b"]}',
    "numbers without end": b'{"resources": {"cpu": NaN}}',
    "infinity": b'{"resources": {"cpu": 1e999}}',
    "deep": b'{"env":' * 500 + b"1" + b"}" * 500,
    "deeper": b"[" * 200_000,
    "many": b"[" + b"0," * 200_000 + b"0]",
    "digits": b'{"ps": ' + b"9" * 5_000 + b"}",
    "no JSON": b"{",
    "not UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "a list": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/plans", "/api/v1/uploads"])
def test_a_body_that_cannot_be_passed_on_is_refused_in_words(
    desk: Desk, what: str, path: str
) -> None:
    answer = desk.call(
        "POST", path, content=UNUSABLE[what], headers=TOKEN | {"Content-Type": "application/json"}
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert all(fault["problem"] for fault in answer.json()["faults"])
    assert desk.sent == []


# Fuzzing by the API's own description.

TEXT = st.text(max_size=30) | st.sampled_from(["a", "job-1", "..", "%00", "worker-0", "9" * 30])
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    *JOB,
    "args",
    "env",
    "ps",
    "workers",
    "type",
    "resources",
    "role_resources",
    "timeouts",
    "ttl_s",
    "sha256",
    "size",
    "upload_id",
    "reason",
    "package_sha256",
]
BODY = VALUE | st.dictionaries(st.sampled_from(FIELDS), VALUE, max_size=6).map(lambda d: JOB | d)


@pytest.mark.parametrize("with_token", [True, False])
def test_whatever_is_asked_is_answered_below_500(with_token: bool) -> None:
    desk = Desk(api_token="right")
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    known = operations(desk)

    @settings(
        max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        method, path, what = data.draw(st.sampled_from(known))
        for name in re.findall(r"\{(\w+)[^}]*\}", path):
            value = data.draw(st.just("a") | TEXT, label=name)
            path = re.sub(r"\{" + name + r"[^}]*\}", lambda _m, v=value: _quoted(v), path)
        query = {
            each["name"]: str(data.draw(LEAF, label=each["name"]))
            for each in what.get("parameters", ())
            if each["in"] == "query" and data.draw(st.booleans())
        }
        headers = {
            each["name"]: data.draw(
                st.text(string.ascii_letters + string.digits + "=-,", max_size=20)
            )
            for each in what.get("parameters", ())
            if each["in"] == "header" and data.draw(st.booleans())
        }
        options: dict[str, Any] = {"params": query, "headers": headers}
        if method not in {"GET", "HEAD"}:
            options["content"] = json.dumps(data.draw(BODY)).encode()
            headers["Content-Type"] = "application/json"
        if with_token:
            headers |= TOKEN
        with contextlib.suppress(httpx.InvalidURL):
            answer = desk.call(method, path, **options)
            assert answer.status_code < 500 or answer.status_code == 503, answer.text
            if not with_token and path != "/login":
                assert answer.status_code in {400, 401, 404, 405}
            # A redirect to the path without its last slash has no content.
            kind = answer.headers.get("content-type")
            if kind == "application/json" and answer.is_client_error:
                assert answer.json()["faults"]

    ask()
    desk.store.close()


def _quoted(value: str) -> str:
    from urllib.parse import quote

    return quote(value.encode(errors="replace"), safe="") or "x"


# The database and the pages.


def test_reading_waits_for_no_writer(tmp_path: Path) -> None:
    file = tmp_path / "client.db"
    store = Store(f"sqlite:///{file}")
    model = ReadModel(store)
    other = sqlite3.connect(file, isolation_level=None, timeout=0)
    other.execute("BEGIN IMMEDIATE")  # as a writer that hangs
    assert model.jobs((), 10, 0, ALL) == []
    assert model.job("a", ALL) is None
    other.execute("ROLLBACK")
    other.close()
    store.close()


def test_a_database_that_is_away_is_503(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def away(_store: Store):
        raise StoreUnavailable("database is locked")
        yield

    for name in ("reading", "unit"):
        monkeypatch.setattr(Store, name, away)
    for method, path in (
        ("GET", "/api/v1/jobs"),
        ("GET", "/api/v1/jobs/a"),
        ("POST", "/api/v1/plans"),
    ):
        answer = desk.call(method, path, json=JOB, headers=TOKEN)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_pages_and_answers_are_not_kept_and_the_cookie_keeps_to_tls(desk: Desk) -> None:
    for path in ("/", "/jobs/a", "/api/v1/jobs", "/login"):
        assert desk.call("GET", path, headers=TOKEN).headers["cache-control"] == "no-store"
    for headers, secure in (({"X-Forwarded-Proto": "https"}, True), ({}, False)):
        entered = desk.call("POST", "/login", data={"token": "right"}, headers=headers)
        assert entered.status_code == 303
        assert ("Secure" in entered.headers["set-cookie"]) is secure


def test_a_list_of_large_jobs_is_small() -> None:
    desk = Desk()
    large = {
        "env": {f"E{n}": "x" * 4_000 for n in range(200)},
        "args": ["y" * 4_000] * 100,
    }
    for number in range(25):
        handed = desk.call("POST", "/api/v1/jobs", json=JOB | large | {"job_id": f"j{number}"})
        assert handed.status_code == 202
    for path in ("/api/v1/jobs?limit=500", "/api/v1/usage", "/"):
        assert len(desk.call("GET", path).content) < 200_000
    listed = desk.call("GET", "/api/v1/jobs?limit=12&offset=5").json()
    assert [job["job_id"] for job in listed["jobs"]] == [f"j{n}" for n in range(19, 7, -1)]
    assert listed["next_offset"] == 17
    whole = desk.call("GET", "/api/v1/jobs/j3").json()["submit"]
    assert (len(whole["env"]), len(whole["args"])) == (200, 100)
    desk.store.close()


def test_only_the_newest_plans_are_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_PLANS", 3)
    job = {name: value for name, value in JOB.items() if name != "package"}
    asked = [
        desk.call("POST", "/api/v1/plans", json=job, headers=TOKEN).json()["request_id"]
        for _ in range(5)
    ]
    answers = [desk.call("GET", f"/api/v1/plans/{each}", headers=TOKEN) for each in asked]
    assert [each.status_code for each in answers] == [404, 404, 200, 200, 200]


def test_followers_of_logs_are_bounded_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_FOLLOWERS", 1)
    desk = Desk()
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    for _each in range(3):  # the ones before have ended
        assert desk.call("GET", "/api/v1/jobs/a/logs/follow").status_code == 200
    monkeypatch.setattr(logs, "_MAX_FOLLOWERS", 0)
    assert desk.call("GET", "/api/v1/jobs/a/logs/follow").status_code == 503
    desk.store.close()


MAIL = st.lists(
    st.sampled_from(
        [
            b"Subject: =?utf-8?q?=ff?=",
            b"Subject: =?x-none?b?////?=",
            b"Subject: \xff\xfe",
            b"Date: never",
            b"To: <<@>, ;:",
            b"To: =?utf-8?b?" + b"A" * 80 + b"?=",
            b"Content-Type: text/plain; charset=none",
            b"Content-Type: text/plain; charset=utf-16",
            b"Content-Type: multipart/mixed",
            b'Content-Type: multipart/alternative; boundary="b"',
            b"Content-Type: ;;;",
            b"Content-Transfer-Encoding: base64",
            b"Content-Transfer-Encoding: x",
            b"",
            b"--b",
            b"--b--",
            b"\xff\x00=ZZ",
        ]
    )
    | st.binary(max_size=20),
    max_size=10,
).map(b"\n".join)


@settings(max_examples=200, deadline=None)
@given(MAIL)
def test_any_mail_can_be_listed(raw: bytes) -> None:
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    shown = pages._shown("key", mail)
    assert {*shown} == {"key", "picture", "subject", "date", "to", "text"}
    json.dumps(shown, ensure_ascii=False).encode()


# Connections.


@pytest.fixture
def port(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(served, "HEAD_WITHIN_S", 0.3)
    server = HttpServer(desk.transport.app, "127.0.0.1", 0)
    server.start()
    yield int(server.url.rpartition(":")[2])
    server.stop()


def closed(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; a time-out is this test's failure."""
    connection.settimeout(60)
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(4096):
            got += piece
    return got


SLOW = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "half a second head": b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\nGET /log",
}


@pytest.mark.parametrize("what", SLOW)
def test_a_connection_without_a_request_is_closed(port: int, what: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(SLOW[what])
        got = closed(connection)
    assert (b"200 OK" in got) == (what == "half a second head")


def test_a_refused_request_is_not_read_to_its_end(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\n{"
        )
        assert b"401 Unauthorized" in closed(connection)
