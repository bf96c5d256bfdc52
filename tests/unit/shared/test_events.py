"""Whoever follows a log or waits for a job hears nothing of a restart of the client service."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from shared.client import client, connection
from shared.client.addresses import Address
from shared.client.client import Client
from shared.client.connection import Connection
from shared.client.errors import UnreachableError

AT = "2026-01-01T00:00:00Z"


class Breaking(httpx.SyncByteStream):
    """Some events, then the connection breaks."""

    def __init__(self, *events: str) -> None:
        self._events = events

    def __iter__(self) -> Iterator[bytes]:
        for event in self._events:
            yield f"{event}\n\n".encode()
        raise httpx.ReadError("the service ended")


def said(number: int) -> str:
    return f'id: {number}\nevent: log\ndata: {{"text": "{number}"}}'


END = 'event: end\ndata: {"state": "succeeded"}'


class Server:
    """Answers one request after the other with these; None refuses the connection."""

    def __init__(self, *answers: httpx.Response | None) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers["Last-Event-ID"])
        answer = self._answers.pop(0) if self._answers else None
        if answer is None:
            raise httpx.ConnectError("refused", request=request)
        return answer


def stream(*events: str) -> httpx.Response:
    return httpx.Response(200, stream=Breaking(*events))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(connection, "time", SimpleNamespace(sleep=made.append))
    return made


def followed(server: Server) -> Iterator[str]:
    made = Connection(Address("http://here", ""))
    made._http = httpx.Client(base_url="http://here", transport=httpx.MockTransport(server))
    for event, data in made.events("/follow"):
        yield str(data.get("text", event))


def test_a_restart_is_waited_for_and_nothing_comes_twice(pauses: list[float]) -> None:
    starting = httpx.Response(503, json={"faults": []})
    server = Server(stream(said(1), said(2)), None, None, starting, stream(said(3), END))
    assert list(followed(server)) == ["1", "2", "3", "end"]
    assert server.asked == ["0", "2", "2", "2", "2"]
    assert pauses == [0.5, 1.0, 2.0, 5.0]


def test_a_server_that_does_not_come_back_is_given_up(pauses: list[float]) -> None:
    with pytest.raises(UnreachableError, match="breaking off"):
        list(followed(Server(stream(said(1)))))
    assert sum(pauses) > 20


def test_who_never_answered_is_not_waited_for(pauses: list[float]) -> None:
    with pytest.raises(UnreachableError):
        list(followed(Server()))
    assert pauses == []


def waited(*answers: httpx.Response | None) -> str:
    left = [*answers]

    def serve(request: httpx.Request) -> httpx.Response:
        answer = left.pop(0) if left else None
        if answer is None:
            raise httpx.ConnectError("refused", request=request)
        return answer

    with Client("http://here", "t") as made:
        made.jobs_api._http = httpx.Client(
            base_url="http://here", transport=httpx.MockTransport(serve)
        )
        return made.wait("a").state


def job(state: str) -> httpx.Response:
    told = {"job_id": "a", "name": "a", "state": state, "ended": state == "succeeded"}
    return httpx.Response(200, json=told | {"created_at": AT, "updated_at": AT})


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_a_job_is_waited_for_over_a_restart(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    looks: list[float] = []
    clock = SimpleNamespace(sleep=looks.append, monotonic=lambda: 0.0)
    monkeypatch.setattr(client, "time", clock)
    starting = httpx.Response(status, json={"faults": []})
    assert waited(job("running"), None, None, starting, job("succeeded")) == "succeeded"
    with pytest.raises(UnreachableError):
        waited(job("running"))
    assert len(looks) > 30
    looks.clear()
    with pytest.raises(UnreachableError):
        waited()
    assert looks == []
