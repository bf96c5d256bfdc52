"""Two healers on one database, killed again and again: no notice is lost, none is doubled."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.contracts import AnomalyDetected
from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.process import OwnedProcess, free_ports, wait_until
from shared.messaging import Bus
from shared.topology import Principal
from tests.alert_desk import ALERTING, alarm, over, published
from tests.brokers import BrokerUnderTest
from tests.postgresql import PrivatePostgres

ALERTS = 24


class Healers:
    """Two processes that share everything."""

    def __init__(
        self, folder: Path, broker: BrokerUnderTest, mailbox: EmbeddedMailbox, store: str
    ) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "BAROGRAPH_BROKER_URL": broker.url("healer"),
            "BAROGRAPH_STORE_URL": store,
            "BAROGRAPH_HEALER_SMTP_URL": mailbox.url,
            "BAROGRAPH_HEALER_MAIL_TO": "oncall@example.org",
            "BAROGRAPH_HEALER_DELIVERY_LEASE_S": "5",
            "BAROGRAPH_HEALER_ALERTING": json.dumps(ALERTING),
        }
        self._number = itertools.count()
        self.running = [self._started(), self._started()]

    def kill_one(self, which: int) -> None:
        self.running[which].kill()
        self.running[which] = self._started()

    def stop(self) -> None:
        for process in self.running:
            process.kill()

    def _started(self) -> OwnedProcess:
        number = next(self._number)
        health, http = free_ports(2)
        own = {
            "BAROGRAPH_INSTANCE": str(number),
            "BAROGRAPH_HEALTH_PORT": str(health),
            "BAROGRAPH_HEALER_HTTP_PORT": str(http),
        }
        return OwnedProcess(
            [sys.executable, "-m", "services.healer"],
            log=self._folder / f"healer-{number}.log",
            env=self._environment | own,
        )


def trouble(number: int) -> AnomalyDetected:
    return alarm(f"host{number}", "app.errors")


def told(mailbox: EmbeddedMailbox) -> Counter[str]:
    return Counter(str(mail["subject"]) for mail in mailbox.messages())


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database that nobody has used yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/healer.db"
        return
    server = PrivatePostgres(tmp_path / "postgresql", ("healer",))
    server.start()
    try:
        yield server.url("healer")
    finally:
        server.stop()


def test_two_healers_killed_again_and_again_tell_everything_once(
    broker: BrokerUnderTest, tmp_path: Path, store: str
) -> None:
    mailbox = EmbeddedMailbox(tmp_path / "mail")
    mailbox.start()
    healers = Healers(tmp_path, broker, mailbox, store)
    bus = Bus(broker.url("detector"), Principal.DETECTOR, "test")
    bus.start(consume=False)
    try:
        bus.wait_ready()
        until(lambda: published(bus, trouble(0)), "the healer's queue")
        for number in range(1, ALERTS):
            bus.publish([trouble(number)])
            if number % 6 == 0:
                half = number // 2
                until(lambda half=half: len(told(mailbox)) > half, "some mails")
                healers.kill_one((number // 6) % 2)
        until(lambda: len(told(mailbox)) >= ALERTS, "every alarm")
        healers.kill_one(0)
        bus.publish([over(trouble(number)) for number in range(ALERTS)])
        until(lambda: len(told(mailbox)) >= 2 * ALERTS, "every end")
    finally:
        bus.stop()
        healers.stop()
        mailbox.stop()
    what = ("alarm: app.errors on host{} is 9", "resolved: app.errors on host{} is over")
    wanted = {f"[critical] {said.format(n)}" for n in range(ALERTS) for said in what}
    assert told(mailbox) == Counter(wanted)


def until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, 300, what, alive=lambda: True)
