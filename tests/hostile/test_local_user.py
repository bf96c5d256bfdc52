"""A running stack, and an ordinary user of the same machine who wants in: every file, every door.

Also a job's program is such a user: nothing here is granted to it either.
"""

from __future__ import annotations

import contextlib
import json
import os
import smtplib
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pika
import pika.exceptions
import psutil
import pytest

from shared.embedded.stack import Stack
from tests.strangers import as_stranger

_HARMLESS = {"/livez", "/readyz", "/metrics", "/healthz", "/login", "/static/icon.svg"}
"""What may answer to anybody: whether a server is well, and the page that asks for the token."""
_ASKED = [
    *sorted(_HARMLESS),
    "/",
    "/mail",
    "/api/v1/mail",
    "/api/v1/jobs",
    "/api/v1/alerts",
    "/api/v1/silences",
    "/api/v1/openapi.json",
    "/api/v1/write",
    "/api/overview",
    "/api/definitions",
    "/buckets/?pretty=y",
    "/buckets/barograph/packages/?limit=2",
    "/barograph?list-type=2",
    "/dir/status",
    "/dir/assign",
    "/dir/lookup?volumeId=1",
    "/vol/grow?count=1",
    "/cluster/status",
    "/status",
    "/stats/counter",
    "/ui/index.html",
    "/debug/pprof/",
]

_KNOCK = """
import json, ssl, sys, http.client
ports, paths = json.load(sys.stdin)
anyone = ssl.create_default_context()
anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
for port in ports:
    for scheme in ("http", "https"):
        for path in paths:
            for method in ("GET", "POST", "DELETE"):
                options = {"context": anyone} if scheme == "https" else {}
                kind = http.client.HTTPSConnection if options else http.client.HTTPConnection
                link = kind("127.0.0.1", port, timeout=10, **options)
                try:
                    link.request(method, path, b"" if method == "POST" else None)
                    status = link.getresponse().status
                except Exception:
                    break  # it does not speak this protocol, or not to us
                finally:
                    link.close()
                if status < 400 and status not in (301, 302, 303, 307):
                    print(json.dumps([port, scheme, method, path, status]))
            else:
                continue
            break
"""

_READ = """
import os, sys
for line in sys.stdin:
    path = line.rstrip("\\n")
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
    except OSError:
        try:
            os.stat(path)
        except OSError:
            continue
        print("seen", path)
    else:
        print("open", path)
"""


def children() -> Iterator[tuple[int, list[str], dict[str, str]]]:
    """Number, command line and environment of each process below this one that runs."""
    for process in psutil.Process().children(recursive=True):
        # Other tests' processes may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            yield process.pid, process.cmdline(), process.environ()


@pytest.fixture(scope="module")
def ports(stack: Stack) -> list[int]:
    """Every TCP port on which a process of the stack listens."""
    # Other tests of this process have servers of their own; the stack's name its directory.
    own = {
        pid
        for pid, line, environment in children()
        if any(str(stack.state) in text for text in (*line, *environment.values()))
    }
    return sorted(
        {
            link.laddr.port
            for link in psutil.net_connections("tcp")
            if link.status == psutil.CONN_LISTEN
            and (link.pid in own or link.laddr.port == stack.mailbox.port)
        }
    )


def everything(stack: Stack) -> list[Path]:
    """Every file and directory; what a running service has removed meanwhile is not missed."""
    found = [stack.state]
    for folder, folders, files in os.walk(stack.state):
        found += [Path(folder, name) for name in (*folders, *files)]
    return found


def mode_of(path: Path) -> int:
    """The mode of a file, as if it had no rights where it has gone or is a link."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    return 0 if stat.S_ISLNK(status.st_mode) else status.st_mode


def test_no_file_of_a_running_stack_has_rights_for_others(stack: Stack) -> None:
    open_ones = [
        f"{oct(mode)} {path}"
        for path in everything(stack)
        # SeaweedFS gives the notes on its volumes a mode itself; the directory is closed.
        if path.suffix != ".vif" and (mode := mode_of(path)) & 0o077
    ]

    assert open_ones == []


def test_another_user_reads_lists_and_sees_nothing_of_it(stack: Stack) -> None:
    paths = "\n".join(str(path) for path in everything(stack) if path != stack.state)

    assert as_stranger(_READ, stdin=paths) == ""


def test_every_door_wants_a_token_or_is_harmless(stack: Stack, ports: list[int]) -> None:
    file = stack.file
    named = (file.client_url, file.gateway_url, file.healer_url, file.s3_url, *file.health.values())
    assert {int(url.rpartition(":")[2]) for url in named} <= set(ports)

    told = as_stranger(_KNOCK, stdin=json.dumps([ports, _ASKED])).splitlines()

    answered = [json.loads(line) for line in told]
    assert answered, "health is told"
    management = int(file.broker_admin_url.rpartition(":")[2])
    beyond = [
        each
        for each in answered
        if each[2:4] not in [["GET", path] for path in _HARMLESS]
        # SeaweedFS says that its S3 API is well.
        and each != [stack.object_store.port, "http", "GET", "/status", 200]
        # RabbitMQ's page is a script; what it shows it asks for with a password.
        and each[:4] != [management, "http", "GET", "/"]
    ]
    assert not beyond, beyond


def test_every_listener_is_on_loopback(stack: Stack) -> None:
    own = {p.pid for p in psutil.Process().children(recursive=True)}
    listening = {
        link.laddr.ip
        for link in psutil.net_connections("tcp")
        if link.status == psutil.CONN_LISTEN and link.pid in own
    }

    assert listening <= {"127.0.0.1", "::1"}


def test_command_lines_which_all_users_see_hold_no_secret(stack: Stack) -> None:
    file = stack.file
    secrets = {file.client_token, file.gateway_token, file.healer_token, file.s3_secret_key}
    secrets |= set(stack.broker.passwords.values()) | {stack.mailbox.password}
    lines = [" ".join(line) for _, line, _ in children()]

    assert len(lines) > len(stack.modules)
    assert [line for line in lines if any(secret in line for secret in secrets)] == []


def test_the_api_is_for_those_with_the_token(stack: Stack) -> None:
    url, token = f"{stack.file.client_url}/api/v1", stack.file.client_token

    assert httpx.post(f"{url}/jobs", json={}, timeout=60).status_code == 401
    assert httpx.post(f"{url}/uploads", json={}, timeout=60).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{url}/jobs", headers=headers, timeout=60).status_code == 200
    assert httpx.get(f"{url}/mail", headers=headers, timeout=60).status_code == 200


def test_the_mailbox_and_the_broker_know_no_guests(stack: Stack) -> None:
    letter = "From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\n\r\nx\r\n"
    with (
        smtplib.SMTP("127.0.0.1", stack.mailbox.port, timeout=60) as session,
        pytest.raises(smtplib.SMTPSenderRefused),
    ):
        session.sendmail("a@example.org", ["b@example.org"], letter)
    guest = f"amqp://guest:guest@127.0.0.1:{stack.broker.ports.amqp}/%2F"
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.URLParameters(guest))
