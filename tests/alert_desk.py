"""A healer's process with its mailbox, told of alarms as the detector would."""

from __future__ import annotations

import json
import os
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx

from shared.contracts import AnomalyCleared, AnomalyDetected, Direction, SeriesRef, Severity
from shared.contracts.message import deterministic_id
from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.process import LOOPBACK, OwnedProcess, free_ports, wait_until
from shared.messaging import BrokerUnavailable, Bus, Unroutable
from shared.topology import Principal
from tests.brokers import BrokerUnderTest
from tests.waiting import LIMIT_S

ALERTING = {
    "group_wait_s": 0,
    "group_interval_s": 0,
    "storm": {"alerts": 1000},
    "mails_per_hour": 1000,
}
"""Everything is told by itself and at once."""


def alarm(host: str, item: str) -> AnomalyDetected:
    series = SeriesRef(host=host, item=item)
    return AnomalyDetected(
        event_id=deterministic_id("story", host, item),
        series=series,
        family="other",
        severity=Severity.CRITICAL,
        time_ms=1_700_000_000_000,
        value=9.0,
        direction=Direction.SPIKE,
        periodic=None,
        votes=(),
        sentence="too many",
        threshold=5.0,
    )


def over(of: AnomalyDetected) -> AnomalyCleared:
    return AnomalyCleared(
        event_id=of.event_id, series=of.series, family="other", time_ms=of.time_ms, value=0.0
    )


def published(bus: Bus, *messages: AnomalyDetected | AnomalyCleared) -> bool:
    """Return whether they could be: not before a healer has declared its queue."""
    try:
        bus.publish(messages)
    except (Unroutable, BrokerUnavailable):
        return False
    return True


class Desk:
    """A healer with its mailbox, and the detector's voice."""

    def __init__(
        self,
        folder: Path,
        broker: BrokerUnderTest,
        alerting: dict[str, Any],
        settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.mailbox = EmbeddedMailbox(folder / "mail")
        self.mailbox.start()
        health, http = free_ports(2)
        self._environment = {
            **os.environ,
            "BAROGRAPH_BROKER_URL": broker.url("healer"),
            "BAROGRAPH_STORE_URL": f"sqlite:///{folder}/healer.db",
            "BAROGRAPH_HEALTH_PORT": str(health),
            "BAROGRAPH_HEALER_HTTP_PORT": str(http),
            "BAROGRAPH_HEALER_SMTP_URL": self.mailbox.url,
            "BAROGRAPH_HEALER_MAIL_TO": "oncall@example.org",
            "BAROGRAPH_HEALER_CANARY_EVERY_S": "0",
            "BAROGRAPH_HEALER_ALERTING": json.dumps(alerting),
            **(settings or {}),
        }
        self.http = httpx.Client(base_url=f"http://{LOOPBACK}:{http}/api/v1", timeout=60)
        self.bus = Bus(broker.url("detector"), Principal.DETECTOR, "stories")
        self.bus.start(consume=False)
        self.bus.wait_ready()
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "services.healer"]
        self.healer = OwnedProcess(command, log=self.folder / "healer.log", env=self._environment)

    def restart(self) -> None:
        self.healer.stop(30)
        self.start()

    def kill(self) -> None:
        """As ``kill -9`` does; nobody takes its place yet."""
        self.healer.kill()

    def stop(self) -> None:
        self.healer.stop(30)
        self.bus.stop()
        self.http.close()
        self.mailbox.stop()

    def say(self, *messages: AnomalyDetected | AnomalyCleared) -> None:
        self.until(lambda: published(self.bus, *messages), "the healer's queue")

    def get(self, path: str) -> list[dict[str, Any]]:
        try:
            return list(self.http.get(path).raise_for_status().json())
        except httpx.TransportError:
            return []  # it is starting

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return dict(self.http.post(path, json=body).raise_for_status().json())

    def mails(self, words: str) -> list[EmailMessage]:
        return [mail for mail in self.mailbox.messages() if words in str(mail["subject"])]

    def until(self, condition: Any, what: str) -> None:
        wait_until(condition, LIMIT_S, what, alive=lambda: True)
