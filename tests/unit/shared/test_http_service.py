"""A service with an HTTP server: what is being asked is answered before its bus goes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shared.service.http import HttpServer, PunctualProtocol
from shared.service.http_service import HttpService
from shared.settings import ServiceSettings
from tests.waiting import eventually


class _Desk:
    """A service whose answers need the bus, as publishing a job does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, grace_s: int) -> None:
        self.asked, self.go, self.bus_gone = (threading.Event() for _ in range(3))
        app = FastAPI()
        app.get("/")(self._answer)
        self.http = HttpServer(app, "127.0.0.1", 0, grace_s)
        self.url = self.http.url
        self.service = HttpService("client", ServiceSettings())
        self.service.serve(self.http)
        monkeypatch.setattr(self.service.bus, "start", lambda: None)
        monkeypatch.setattr(self.service.bus, "stop", self.bus_gone.set)

    def _answer(self) -> str:
        self.asked.set()
        assert self.go.wait(60)
        return "too late" if self.bus_gone.is_set() else "published"

    def refuses(self) -> bool:
        try:
            with httpx.Client(trust_env=False, timeout=60) as another:
                another.get(f"{self.url}/nothing")
        except httpx.TransportError:
            return True
        return False


@contextmanager
def _asked(desk: _Desk) -> Iterator[tuple[ThreadPoolExecutor, httpx.Client]]:
    desk.service.start()
    with ThreadPoolExecutor(2) as threads, httpx.Client(trust_env=False, timeout=60) as caller:
        try:
            yield threads, caller
        finally:
            desk.go.set()


def test_what_is_in_work_is_answered_over_the_bus_and_nothing_else_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = _Desk(monkeypatch, grace_s=60)
    with _asked(desk) as (threads, caller):
        answer = threads.submit(caller.get, desk.url)
        assert desk.asked.wait(60)
        stopped = threads.submit(desk.service.stop)
        eventually(desk.refuses, "a closed door")
        assert not desk.bus_gone.is_set()
        desk.go.set()
        assert answer.result(60).json() == "published"
        stopped.result(60)
        assert desk.bus_gone.is_set()


def test_what_does_not_end_is_cut_off_and_the_service_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = _Desk(monkeypatch, grace_s=0)
    with _asked(desk) as (threads, caller):
        answer = threads.submit(caller.get, desk.url)
        assert desk.asked.wait(60)
        desk.service.stop()
        assert desk.bus_gone.is_set()
        assert answer.result(60).is_server_error


def test_a_service_that_was_never_started_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = _Desk(monkeypatch, grace_s=60)
    desk.service.stop()
    assert desk.bus_gone.is_set()


def test_an_answers_body_does_not_wait_for_the_callers_delayed_ack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_on: list[int] = []
    made = PunctualProtocol.connection_made

    def connection_made(self: PunctualProtocol, transport: Any) -> None:
        accepted = transport.get_extra_info("socket")
        set_on.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        made(self, transport)

    monkeypatch.setattr(PunctualProtocol, "connection_made", connection_made)
    server = HttpServer(FastAPI(), "127.0.0.1", 0)
    server.start()
    try:
        httpx.get(server.url)
    finally:
        server.stop()
    assert set_on == [1]
