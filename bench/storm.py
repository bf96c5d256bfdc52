"""An alert storm through real parts: broker, healer process, its database, SMTP.

A rack's switch fails, and with it everything on its machines: each root alarm has hundreds of
effects. Alerts are published at a fixed rate; measured are the time from handing an alert to the
broker until its change arrives at a subscriber (p50, p99), the notices people get, and whether
every root alarm is in them by name and every alert in their tables. With ``--kill`` the healer
is killed when half of the alerts are published, and started again; what is lost or sent twice is
counted, and the longest pause between two changes. With ``--replicas 2`` there are two healers on a
private PostgreSQL, and it is the leader that is killed. In the end one healer is asked of every
tenth alert why people were notified of it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import httpx
import numpy as np
import pika

from bench.storm_healers import Healers, OneHealer, TwoHealers
from shared.contracts import AlertChanged, AnomalyDetected
from shared.embedded.broker import EmbeddedBroker
from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.process import wait_until
from shared.messaging import Bus
from shared.topology import Principal
from tests.storms import RULES, alerts, named, tables

_BATCH = 50
_EVERY = 10


class Listener(threading.Thread):
    """A subscriber of alerts: when each series' change came, and how often."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.came: dict[str, float] = {}
        self.changes: Counter[tuple[str, int]] = Counter()
        self._link = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._link.channel()
        self._channel.queue_declare("outside.storm", durable=True)
        self._channel.queue_bind("outside.storm", "alerts", "alert.firing.#")

    def run(self) -> None:
        """Note the arrival of each."""
        try:
            for _, _, body in self._channel.consume("outside.storm", auto_ack=True):
                now = time.time()
                changed = AlertChanged.model_validate_json(body)
                self.came.setdefault(changed.series.text(), now)
                self.changes[changed.alert_id, changed.sequence] += 1
        except pika.exceptions.AMQPError:
            pass  # the broker is stopped when all is measured


def publish(
    url: str, storm: list[AnomalyDetected], rate: float, halfway: Callable[[], None]
) -> dict[str, float]:
    """Hand them over at ``rate`` a second; when each was. ``halfway`` is called in the middle."""
    bus = Bus(url, Principal.DETECTOR, "storm")
    bus.start(consume=False)
    bus.wait_ready()
    handed: dict[str, float] = {}
    began = time.time()
    for start in range(0, len(storm), _BATCH):
        due = began + start / rate
        time.sleep(max(0.0, due - time.time()))
        part = storm[start : start + _BATCH]
        now = time.time()
        handed |= {alert.series.text(): now for alert in part}
        bus.publish(part)
        if start < len(storm) / 2 <= start + _BATCH:
            halfway()
    bus.stop()
    return handed


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--roots", type=int, default=20)
    parser.add_argument("-v", action="store_true", help="show the end of the healer's log")
    parser.add_argument("--settle", type=float, default=75.0, help="seconds after the last alert")
    parser.add_argument("--replicas", type=int, choices=(1, 2), default=1)
    parser.add_argument("--kill", action="store_true", help="kill the healer in the middle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(_measured(Path(name), options)))
    return 0


def _measured(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    broker, mailbox = EmbeddedBroker(folder / "broker"), EmbeddedMailbox(folder / "mail")
    broker.start()
    mailbox.start()
    make = OneHealer if options.replicas == 1 else TwoHealers
    healers: Healers = make(folder, _settings(broker, mailbox))

    try:
        listener = Listener(broker.url("outside"))
        listener.start()
        storm = alerts(options.alerts, options.roots)
        load = os.getloadavg()[0]
        spent = healers.cpu_s()
        began = time.time()
        halfway = healers.kill if options.kill else lambda: None
        handed = publish(broker.url("detector"), storm, options.rate, halfway)
        published_s = time.time() - began
        wait_until(lambda: len(listener.came) >= len(handed), 600, "all", alive=healers.alive)
        # A healer that was started in between has spent all of its time on the storm.
        spent = healers.cpu_s() - (0 if options.kill else spent)
        time.sleep(options.settle)
        mails = mailbox.messages()
        return _figures(options, storm, handed, listener.came, mails) | {
            "lost": len(handed) - len(listener.came),
            "changes_doubled": sum(1 for count in listener.changes.values() if count > 1),
            "mails_doubled": len(mails) - len({str(mail["Message-ID"]) for mail in mails}),
            "why_ms": _why_ms(healers.url(), listener) if healers.url() else None,
            "published_per_s": round(options.alerts / published_s),
            "healer_cpu_s_per_1000_alerts": round(spent / options.alerts * 1000, 2),
            "load_before": round(load, 1),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
    finally:
        healers.stop()
        if options.v:
            print(healers.log_tail())
        mailbox.stop()
        broker.stop()


def _why_ms(url: str, listener: Listener) -> dict[str, float]:
    """Return how long the healer takes to say why, of every ``_EVERY``-th alert of the storm."""
    took = []
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as healer:
        for alert_id, _ in sorted(listener.changes)[::_EVERY]:
            began = time.perf_counter()
            healer.get(f"/alerts/{alert_id}/narrative").raise_for_status()
            took.append(1000 * (time.perf_counter() - began))
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return {
        "asked": len(took),
        "p50": round(p50, 1),
        "p99": round(p99, 1),
        "max": round(max(took), 1),
    }


def _settings(broker: EmbeddedBroker, mailbox: EmbeddedMailbox) -> dict[str, str]:
    return {
        **os.environ,
        "BAROGRAPH_BROKER_URL": broker.url("healer"),
        "BAROGRAPH_HEALER_SMTP_URL": mailbox.url,
        "BAROGRAPH_HEALER_ALERTING": json.dumps({"inhibit": RULES}),
    }


def _figures(
    options: argparse.Namespace,
    storm: list[AnomalyDetected],
    handed: dict[str, float],
    came: dict[str, float],
    mails: list[EmailMessage],
) -> dict[str, object]:
    late = np.array([came[name] - at for name, at in handed.items()])
    roots = [a.series.host for a in storm if a.series.item == "switch.up"]
    listed = tables(mails)
    everything = {f"{alert.series.host} {alert.series.item}" for alert in storm}
    return {
        "alerts": options.alerts,
        "rate": options.rate,
        "p50_s": round(float(np.quantile(late, 0.5)), 3),
        "p99_s": round(float(np.quantile(late, 0.99)), 3),
        "max_s": round(float(late.max()), 3),
        "longest_pause_s": round(float(np.diff(sorted(came.values())).max()), 3),
        "notices": len(mails),
        "roots": len(roots),
        "roots_named": len(named(mails, roots)),
        "alerts_in_tables": len(everything & listed),
        "subjects": [str(mail["subject"]) for mail in mails],
    }


if __name__ == "__main__":
    sys.exit(main())
