"""Handing a mail over in real SMTP sessions."""

from __future__ import annotations

import mailbox
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.healer.notify.channels import Tools
from services.healer.notify.channels.smtp import MailRefused, MailUnavailable, send
from services.healer.notify.delivery import Deliverer
from services.healer.notify.failing_channels import FailingChannels
from services.healer.notify.render.mail import build
from shared.embedded.mailbox import EmbeddedMailbox, SmtpServer
from shared.embedded.process import LOOPBACK, free_ports
from tests.unit.healer.test_alerting import over, trouble
from tests.unit.healer.test_incidents import Desk
from tests.unit.healer.test_mail import notice


class Answering:
    """A server that answers every recipient the same."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    async def handle_RCPT(self, *_args: object) -> str:  # noqa: N802 - aiosmtpd's name
        return self.answer


@contextmanager
def answering(answer: str) -> Iterator[str]:
    (port,) = free_ports(1)
    server = SmtpServer(Answering(answer), hostname=LOOPBACK, port=port)
    server.start()
    try:
        yield f"smtp://{LOOPBACK}:{port}"
    finally:
        server.stop()


def letter() -> EmailMessage:
    return build(notice(), "barograph@example.org", ("oncall@example.org",))


def test_a_mail_is_delivered_whole(tmp_path: Path) -> None:
    box = EmbeddedMailbox(tmp_path)
    box.start()
    try:
        send(box.url, letter())
    finally:
        box.stop()
    (delivered,) = mailbox.Maildir(box.directory)
    assert delivered["Subject"] == letter()["Subject"]
    pictures = [p.get_payload(decode=True) for p in delivered.walk() if p.get_filename()]
    wanted = [p.get_payload(decode=True) for p in letter().walk() if p.get_filename()]
    assert pictures == wanted


def test_a_wrong_password_can_be_mended_so_the_mail_waits(tmp_path: Path) -> None:
    box = EmbeddedMailbox(tmp_path)
    box.start()
    try:
        with pytest.raises(MailUnavailable, match="login"):
            send(box.url.replace(box.password, "wrong"), letter())
    finally:
        box.stop()


def test_a_permanent_no_is_told_from_a_temporary_one() -> None:
    with answering("550 no such user") as url, pytest.raises(MailRefused, match="550 no such user"):
        send(url, letter())
    with answering("451 try again later") as url, pytest.raises(MailUnavailable, match="451"):
        send(url, letter())


def test_nobody_listening_is_unavailable_and_a_bad_url_a_fault() -> None:
    (port,) = free_ports(1)
    with pytest.raises(MailUnavailable, match="refused"):
        send(f"smtp://{LOOPBACK}:{port}", letter())
    with pytest.raises(ValueError, match="smtps://host"):
        send("http://example.org", letter())


@dataclass
class Replica:
    """A healer's mail channel on a real SMTP server, its clock moved by hand."""

    box: EmbeddedMailbox

    def __post_init__(self) -> None:
        self.desk = Desk()
        (channel,) = self.desk.settings.all_channels
        tools = Tools(smtp_url=self.box.url, mail_from="barograph@example.org")
        failing = FailingChannels(self.desk.handlers.dispatch, timedelta(minutes=10))
        self.deliverer = Deliverer(
            channel, tools, self._unit, lambda: self.desk.now, timedelta(days=1), failing
        )

    @contextmanager
    def _unit(self) -> Iterator[Any]:
        with self.desk.store.transaction() as records:
            yield SimpleNamespace(records=records)

    def run_for(self, minutes: int) -> None:
        for _ in range(minutes * 12):
            self.desk.later(5)
            self.deliverer.run()


def test_a_server_that_is_down_for_ten_minutes_loses_and_doubles_nothing(tmp_path: Path) -> None:
    box = EmbeddedMailbox(tmp_path)
    box.start()
    replica = Replica(box)
    replica.desk.take(trouble("before"))
    replica.run_for(1)
    box.stop()
    for number in range(6):
        replica.desk.take(trouble(f"host{number}"), *([over(trouble("before"))] * (number == 3)))
        replica.run_for(2 if number % 2 else 1)
    replica.run_for(1)
    assert len(box.messages()) == 1
    box.start()
    try:
        replica.run_for(12)
    finally:
        box.stop()
    ids = [str(mail["Message-ID"]) for mail in box.messages()]
    assert sorted(ids) == sorted(f"<{told.message_id}>" for told in replica.desk.notices())
    assert len(ids) == 8
