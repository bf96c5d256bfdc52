"""The supervisor of one machine: starts, watches, starts again, leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import smtplib
import socket
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.process import EmbeddedError
from shared.embedded.reload import Reloaded, Reloads, ask_reload, read_outcome
from shared.embedded.stack import Stack
from shared.embedded.stackfile import StackFile, is_ready, read_stack_file
from shared.embedded.supervisor import started
from tests.waiting import eventually

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
    assert httpx.get(f"{file.broker_admin_url}/api/overview", timeout=60).status_code == 200


def test_a_companys_proxy_is_not_asked_for_this_machines_servers(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "intranet.example")
    assert all(is_ready(url) for url in stack.file.health.values())
    given = stack.environment("task")
    assert given["no_proxy"] == given["NO_PROXY"] == "intranet.example,127.0.0.1,localhost"
    assert given["http_proxy"] == "http://127.0.0.1:9"


def test_settings_that_changed_are_reloaded_by_the_services_that_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "barograph.toml"
    file.write_text('[task]\nlog_level = "INFO"\n')
    monkeypatch.setenv("BAROGRAPH_CONFIG", str(file))
    stack, reloads = Stack(tmp_path / "stack", modules=TINY), Reloads()
    reloads.reload()  # nothing runs yet
    stack.start()
    try:
        reloads.of(stack)

        def reloaded(text: str) -> tuple[Reloaded | None, list[str]]:
            file.write_text(text)
            before = {name: stack.pid(name) for name in TINY}
            reloads.reload()
            changed = [name for name in TINY if stack.pid(name) != before[name]]
            return read_outcome(stack.state), changed

        assert reloaded('[task]\nlog_level = "INFO"\n') == (Reloaded(), [])
        told = reloaded('[task]\nlog_level = "DEBUG"\n')
        assert told == (Reloaded(services=("task",)), ["task"])
        told = reloaded('log_level = "DEBUG"\n[task]\nlog_level = "DEBUG"\n')
        assert told == (Reloaded(services=tuple(TINY)), list(TINY))
        for text in ("no toml", "[client]\nhttp_port = 1234\n"):
            outcome, changed = reloaded(text)
            assert outcome is not None
            assert (bool(outcome.problem), outcome.services, changed) == (True, (), [])
        assert "barograph down" in outcome.problem
        assert all(is_ready(url) for url in stack.file.health.values())
    finally:
        stack.stop()


def test_a_file_that_is_created_named_or_removed_after_the_start_counts_from_a_reload_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BAROGRAPH_CONFIG", raising=False)
    own, other = tmp_path / "barograph.toml", tmp_path / "other.toml"
    stack, reloads = Stack(tmp_path / "stack", modules=TINY), Reloads()
    before = signal.signal(signal.SIGHUP, lambda *_: reloads.reload())
    stack.start()
    try:
        reloads.of(stack)

        def reloaded(config: Path | None) -> Reloaded | None:
            ask_reload(stack.state, os.getpid(), str(config or ""))
            in_use = str(config or "")
            assert read_stack_file(stack.state).config == in_use
            assert {stack.environment(name)["BAROGRAPH_CONFIG"] for name in TINY} == {in_use}
            return read_outcome(stack.state)

        assert reloaded(None) == Reloaded()
        own.write_text('[task]\nlog_level = "DEBUG"\n')
        assert reloaded(own) == Reloaded(services=("task",))
        other.write_text('log_level = "DEBUG"\n')
        assert reloaded(other) == Reloaded(services=tuple(TINY))
        reloads.reload()  # as for a signal that somebody sends by hand: the file stays
        assert read_outcome(stack.state) == Reloaded()
        assert stack.config == other
        assert reloaded(None) == Reloaded(services=tuple(TINY))
    finally:
        signal.signal(signal.SIGHUP, before)
        stack.stop()


def test_a_disk_on_which_the_broker_would_take_nothing_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(tmp_path / "stack", modules=TINY)
    full = shutil.disk_usage(tmp_path)._replace(free=19 * 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(EmbeddedError, match=r"has 19 MB of free disk space.* --state"):
        stack.start()
    assert not (stack.state / "log").exists()


def test_a_service_that_was_stopped_for_good_is_not_restarted(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", modules=TINY)
    stack.start()
    before = stack.pid("task")
    stack.stop()
    stack._services["task"].restart()
    assert stack.pid("task") == before
    assert not psutil.pid_exists(before)


def test_a_service_that_is_killed_is_started_again(stack: Stack) -> None:
    before = stack.pid("task")

    stack.kill9("task")

    eventually(lambda: stack.pid("task") != before, "another process")
    stack.wait_ready()


@pytest.mark.parametrize("name", ["broker", "object-store"])
def test_a_server_that_ends_is_started_again_at_its_address(stack: Stack, name: str) -> None:
    server = stack.broker if name == "broker" else stack.object_store
    before = server.pid
    assert before is not None

    os.killpg(before, signal.SIGKILL)

    eventually(lambda: server.pid not in (before, None) and server.alive(), "another process")
    stack.wait_ready()
    url = {"broker": f"{stack.broker.admin_url}/api/overview", "object-store": stack.file.s3_url}
    assert eventually(lambda: _answers(url[name]), "an answer")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code < 500
    except httpx.TransportError:
        return False


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
            with smtplib.SMTP("127.0.0.1", box.port, timeout=60) as session:
                session.login(box.user, box.password)
    finally:
        box.stop()


def _mentions(process: psutil.Process, directory: Path) -> bool:
    return any(str(directory) in part for part in process.info["cmdline"] or [])
