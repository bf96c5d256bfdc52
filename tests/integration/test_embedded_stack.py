"""The supervisor of one machine: starts, watches, starts again, leaves nothing."""

from __future__ import annotations

import os
import smtplib
import socket
import stat
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.process import EmbeddedError
from shared.embedded.stack import Stack, started
from shared.embedded.stackfile import StackFile, is_ready, read_stack_file

TINY = {"task": "tests.integration.tiny_service", "client": "tests.integration.tiny_service"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), modules=TINY)
    stack.start()
    yield stack
    stack.stop()


def test_everything_is_found_in_a_file_only_the_owner_can_read(stack: Stack) -> None:
    path = stack.state / StackFile.NAME
    file = read_stack_file(stack.state)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file.supervisor_pid == os.getpid()
    assert all(is_ready(url) for url in file.health.values())
    assert httpx.get(f"{file.broker_admin_url}/api/overview").status_code == 200


def test_a_service_that_is_killed_is_started_again(stack: Stack) -> None:
    before = stack.pid("task")

    stack.kill9("task")

    deadline = time.monotonic() + 20
    while stack.pid("task") == before and time.monotonic() < deadline:
        time.sleep(0.05)
    stack.wait_ready(20)
    assert stack.pid("task") != before


def test_a_port_that_another_took_meanwhile_is_chosen_anew_and_a_stop_leaves_nothing(
    tmp_path: Path,
) -> None:
    quicker: list[socket.socket] = []

    class Overtaken(Stack):
        def plan_addresses(self) -> None:
            super().plan_addresses()
            if not quicker:
                port = int(self.file.health["task"].rpartition(":")[2])
                quicker.append(socket.create_server(("127.0.0.1", port)))

    stack = started(lambda: Overtaken(tmp_path, modules=TINY))
    with quicker[0] as other:
        assert f":{other.getsockname()[1]}" not in stack.file.health["task"]
        stack.stop()

    left = [p.info for p in psutil.process_iter(["cmdline", "cwd"]) if _mentions(p, tmp_path)]
    assert left == []
    assert not (tmp_path / StackFile.NAME).exists()


def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    stack = Stack(tmp_path, env={"TINY_FAILS": "1"}, modules=TINY)

    with pytest.raises(EmbeddedError, match=r"(?s)(client|task) keep ending.*no such disk"):
        stack.start()


def test_the_mailbox_delivers_only_after_a_login(tmp_path: Path) -> None:
    box = EmbeddedMailbox(tmp_path)
    box.start()
    try:
        text = "From: a@example.org\r\nTo: b@example.org\r\nSubject: full\r\n\r\nsoon\r\n"
        with smtplib.SMTP("127.0.0.1", box.port) as session:
            with pytest.raises(smtplib.SMTPSenderRefused):
                session.sendmail("a@example.org", ["b@example.org"], text)
            with pytest.raises(smtplib.SMTPAuthenticationError):
                session.login(box.user, "wrong")
        with smtplib.SMTP("127.0.0.1", box.port) as session:
            session.login(box.user, box.password)
            session.sendmail("a@example.org", ["b@example.org"], text)
        assert [message["Subject"] for message in box.messages()] == ["full"]
    finally:
        box.stop()


def test_the_mailbox_answers_where_warnings_are_errors(tmp_path: Path) -> None:
    box = EmbeddedMailbox(tmp_path)
    box.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with smtplib.SMTP("127.0.0.1", box.port, timeout=20) as session:
                session.login(box.user, box.password)
    finally:
        box.stop()


def _mentions(process: psutil.Process, directory: Path) -> bool:
    return any(str(directory) in part for part in process.info["cmdline"] or [])
