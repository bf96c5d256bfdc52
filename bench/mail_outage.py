"""A mail server that is unavailable for minutes: is every alarm mailed, and each once?

Real RabbitMQ, the healer as a process with SQLite, a real SMTP server that is stopped, and started
again after `--minutes`; meanwhile alarms come at an even rate. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.alert_desk import ALERTING, Desk, alarm
from tests.brokers import PrivateBroker

_RETRIES_S = 1800.0


def main() -> int:
    """Measure and print; 1 when a mail was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--alerts", type=int, default=120)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        broker = PrivateBroker(Path(name, "broker"))
        broker.start()
        desk = Desk(Path(name), broker, ALERTING)
        try:
            figures = _measured(desk, options)
        finally:
            desk.stop()
            broker.stop()
    surroundings = {
        "load_before": round(load, 1),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    print(json.dumps(figures | surroundings))
    return int(bool(figures["lost"] or figures["doubled"]))


def _measured(desk: Desk, options: argparse.Namespace) -> dict[str, object]:
    desk.say(alarm("before", "app.errors"))
    desk.until(lambda: desk.mails("before"), "the first mail")
    desk.mailbox.stop()
    began = time.monotonic()
    hosts = [f"away{number}" for number in range(options.alerts)]
    for number, host in enumerate(hosts):
        time.sleep(max(0.0, began + options.minutes * 60 * number / len(hosts) - time.monotonic()))
        desk.say(alarm(host, "app.errors"))
        if number % max(1, len(hosts) // 10) == 0:
            print(f"{time.monotonic() - began:.0f} s: {number + 1} alarms sent", flush=True)
    time.sleep(max(0.0, began + options.minutes * 60 - time.monotonic()))
    desk.mailbox.start()
    back = time.monotonic()
    desk.until(lambda: len(desk.mailbox.messages()) > len(hosts), "every mail", _RETRIES_S)
    took = time.monotonic() - back
    time.sleep(30)  # for any that comes twice
    came = Counter(str(mail["subject"]) for mail in desk.mailbox.messages())
    named = {host: sum(n for s, n in came.items() if f"on {host} " in s) for host in hosts}
    return {
        "away_s": round(back - began),
        "alerts": len(hosts),
        "lost": [host for host, count in named.items() if not count],
        "doubled": [host for host, count in named.items() if count > 1],
        "last_mail_after_s": round(took, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
