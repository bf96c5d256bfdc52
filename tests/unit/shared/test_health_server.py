"""Probes of a service, without one."""

from __future__ import annotations

import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from shared.service.health import HealthServer
from tests.waiting import eventually


@pytest.fixture
def asked() -> threading.Event:
    return threading.Event()


@pytest.fixture
def gone() -> threading.Event:
    return threading.Event()


@pytest.fixture
def server(asked: threading.Event, gone: threading.Event) -> Iterator[HealthServer]:
    """One that takes its time: it answers when its caller has gone."""

    def slow() -> dict[str, str]:
        asked.set()
        assert gone.wait(60)
        return {}

    running = HealthServer("127.0.0.1", 0, slow, dict)
    running.start()
    yield running
    running.stop()


def test_a_probe_that_does_not_wait_leaves_no_traceback(
    server: HealthServer,
    asked: threading.Event,
    gone: threading.Event,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert asked.wait(60)
        # Closed at once and not at the end of what is still to come: what is sent then is refused.
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.set()
    eventually(lambda: threading.active_count() <= before, "the end of its thread")
    assert capsys.readouterr().err == ""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz") as answer:
        assert answer.status == 200
