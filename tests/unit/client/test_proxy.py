"""A proxy names its people in a header: believed from its address alone, over real sockets."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from services.client.settings import ClientSettings
from shared.contracts import IncidentAcknowledge
from shared.service.http import HttpServer
from tests.unit.client.alerts.events import ALERT, changed
from tests.unit.client.alerts.test_alert_pages import hear
from tests.unit.client.test_api import Desk

GROUPS = {"ops": {"role": "operator", "projects": ["vision"]}, "*": {"role": "viewer"}}
PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
ANN = {"X-Forwarded-User": "Ann", "X-Forwarded-Groups": "ops, sports"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Desk, HttpServer]]:
    desk = Desk(api_token="root", proxy_addresses="10.1.0.0/16, 127.0.0.1", groups=GROUPS)
    server = HttpServer(desk.transport.app, "0.0.0.0", 0)
    server.start()
    hear(desk, changed(1, "firing"))
    yield desk, server
    server.stop()
    desk.store.close()


def asked(
    server: HttpServer, path: str, headers: list[tuple[str, str]], *, source: str, body: str = ""
) -> tuple[int, str]:
    """Status and text of what an address is answered."""
    port = int(server.url.rpartition(":")[2])
    method = "POST" if body else "GET"
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"Content-Length: {len(body)}", "", body]
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        pieces = b"".join(iter(lambda: connection.recv(65_536), b""))
    return int(pieces.split(b" ", 2)[1]), pieces.decode()


def test_who_the_proxy_names_decides_in_that_name(served: tuple[Desk, HttpServer]) -> None:
    desk, server = served
    headers = [*ANN.items(), ("Accept", "text/html")]
    status, page = asked(server, f"/alerts/{ALERT}", headers, source=PROXY)
    assert status == 200
    assert "Signed in as <bdi>Ann</bdi> (operator)" in page
    assert "Sign out" not in page
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    body = f"csrf={csrf[1]}&alert={ALERT}"
    done, _ = asked(server, "/alerts/acknowledge", headers, source=PROXY, body=body)
    assert done == 303
    assert desk.sent == [IncidentAcknowledge(alert_id=ALERT, by="Ann")]
    bob = [("X-Forwarded-User", "Bob"), ("X-Forwarded-Groups", "ops")]
    assert asked(server, "/alerts/acknowledge", bob, source=PROXY, body=body)[0] == 403
    foreign = [*headers, ("Origin", "https://evil.example.org")]
    assert asked(server, "/alerts/acknowledge", foreign, source=PROXY, body=body)[0] == 403


def test_the_same_header_from_another_address_is_nobodys_and_is_logged_once(
    served: tuple[Desk, HttpServer],
) -> None:
    _, server = served
    with capture_logs() as logs:
        for _ in range(3):
            assert asked(server, "/api/v1/jobs", [*ANN.items()], source=STRANGER)[0] == 401
    ignored = [each for each in logs if each["event"] == "proxy_header_ignored"]
    assert [each["address"] for each in ignored] == [STRANGER]
    through = [*ANN.items(), ("X-Forwarded-For", PROXY), ("X-Real-IP", PROXY)]
    assert asked(server, "/api/v1/jobs", through, source=STRANGER)[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-User", "root"), *ANN.items()],
        [*ANN.items(), ("x-forwarded-user", "root")],
        [*ANN.items(), ("X-Forwarded-Groups", "admins")],
        [("X-Forwarded-User", "")],
        [("X-Forwarded-User", "An\u200bn")],
        [("X-Forwarded-User", "A" * 201)],
    ],
)
def test_a_header_that_the_proxy_alone_did_not_write_is_refused(
    served: tuple[Desk, HttpServer], headers: list[tuple[str, str]]
) -> None:
    assert asked(served[1], "/api/v1/jobs", headers, source=PROXY)[0] == 400


def test_a_token_counts_beside_a_proxy(served: tuple[Desk, HttpServer]) -> None:
    bearer = [("Authorization", "Bearer root"), *ANN.items()]
    assert asked(served[1], "/api/v1/tokens", bearer, source=PROXY)[0] == 200
    assert asked(served[1], "/api/v1/tokens", [*ANN.items()], source=PROXY)[0] == 403


def test_who_is_of_no_group_has_what_everybody_has(served: tuple[Desk, HttpServer]) -> None:
    bob = [("X-Forwarded-User", "Bob")]
    assert asked(served[1], "/api/v1/jobs", bob, source=PROXY)[0] == 200
    assert asked(served[1], "/submit", bob, source=PROXY)[0] == 403


def test_without_a_trusted_address_the_header_is_any_other() -> None:
    desk = Desk(api_token="root", groups=GROUPS)
    assert desk.call("GET", "/api/v1/jobs", headers=ANN).status_code == 401
    desk.store.close()


def test_a_group_without_rights_is_told_so() -> None:
    groups = {"ops": GROUPS["ops"]}
    desk = Desk(api_token="root", proxy_addresses="127.0.0.1", groups=groups)
    refused = desk.call("GET", "/api/v1/jobs", headers={"X-Forwarded-User": "Bob"})
    assert refused.status_code == 403
    assert "Bob is of no group that has rights here" in refused.text
    desk.store.close()


@pytest.mark.parametrize("listed", ["anywhere", "10.0.0.0/8/8", "10.0.0.1/8"])
def test_what_is_no_address_stops_the_start(listed: str) -> None:
    with pytest.raises(ValidationError):
        ClientSettings(api_token="root", proxy_addresses=listed, groups=GROUPS)
