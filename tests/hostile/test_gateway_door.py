"""Tests of what strangers may do at the gateway's HTTP door."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

import cramjam
import httpx
import pytest

from services.detector.gateway.http import make_app
from services.detector.gateway.ingest import Ingest
from services.detector.settings import Settings
from shared.service.http import HttpServer, presented
from tests.remote_write import V1, V2, compressed, request_1, request_2

_NOW = 1_700_000_000_000


class _Nowhere:
    def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
        del batches


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    app = make_app(Settings(), Ingest(_Nowhere(), 4, lambda: _NOW))
    gateway = HttpServer(app, "127.0.0.1", 0, grace_s=None)
    gateway.start()
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client
    gateway.stop()


def _post(client: httpx.Client, **headers: str) -> httpx.Response:
    body = compressed(request_1(({"__name__": "a", "host": "h"}, [(_NOW, 1.0)])))
    return client.post("/api/v1/write", content=body, headers=headers)


def test_a_page_in_a_browser_cannot_write(client: httpx.Client) -> None:
    assert _post(client).status_code == 204
    answer = _post(client, origin="https://evil.example")
    assert (answer.status_code, "browser" in answer.text) == (403, True)
    assert _post(client, origin="null").status_code == 403


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/", "/api/v1/read"])
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_body_that_says_it_is_too_large_is_not_waited_for(client: httpx.Client) -> None:
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(
            b"POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            b"content-length: 99999999999999\r\n\r\nx"
        )
        assert connection.recv(200).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("time", "unit"),
    [(_NOW // 1000, "seconds"), (_NOW * 1000, "microseconds"), (_NOW * 10**6, "nanoseconds")],
)
def test_a_time_in_another_unit_is_named_and_not_taken_for_1970(
    client: httpx.Client, time: int, unit: str
) -> None:
    body = request_1(({"__name__": "a", "host": "h"}, [(time, 1.0), (_NOW, 1.0)]))
    answer = client.post("/api/v1/write", content=compressed(body))
    assert (answer.status_code, f"it looks like {unit}" in answer.text) == (400, True)


def test_the_message_of_the_other_version_is_not_taken_for_an_empty_one(
    client: httpx.Client,
) -> None:
    series = ({"__name__": "a", "host": "h"}, [(_NOW, 1.0)])
    for message, named, looks in ((request_1, V2, "1.0"), (request_2, V1, "2.0")):
        content = compressed(message(series))
        answer = client.post("/api/v1/write", content=content, headers={"content-type": named})
        assert (answer.status_code, f"must name {looks}" in answer.text) == (400, True)
        nothing = client.post(
            "/api/v1/write", content=compressed(b""), headers={"content-type": named}
        )
        assert nothing.status_code == 204


def test_a_body_that_is_none_or_framed_is_said_to_be_so(client: httpx.Client) -> None:
    framed = bytes(cramjam.snappy.compress(request_1(({"__name__": "a"}, [(_NOW, 1.0)]))))
    for content, said in ((b"", "empty"), (framed, "block format")):
        answer = client.post("/api/v1/write", content=content)
        assert (answer.status_code, said in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ("Bearer secret", "secret"),
        ("bearer  secret ", "secret"),
        ("Basic dXNlcjpzZWM6cmV0", "sec:ret"),
        ("Basic not base64", ""),
        ("secret", ""),
        ("Digest secret", ""),
        ("", ""),
    ],
)
def test_a_token_comes_as_bearer_or_as_a_password(given: str, token: str) -> None:
    assert presented(given) == token
