"""The program of `helm test`: a tiny job from hand-in to log, an alert from sample to event.

Uses the doors users have: tshell for the job, any AMQP client for samples and alerts.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pika

from shared import trust

PROGRAM = "print('the job ran, on', __import__('platform').node(), flush=True)\n"
ITEM, FULL, EMPTY = "df.bytes.used.percent", 99.0, 1.0
PAUSE_S = 1.0
UNREACHABLE = 3


def tshell(*arguments: str, wait_s: float = 0) -> str:
    """Output of a command; ends the test where it fails, or where nobody answers for so long."""
    deadline = time.monotonic() + wait_s
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "services.client.tshell", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != UNREACHABLE or time.monotonic() > deadline:
            break
        time.sleep(PAUSE_S)
    if done.returncode:
        sys.exit(f"tshell {arguments[0]}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def run_job(wait_s: float) -> None:
    """Submit a program, wait for its end, read its log from the store, and forget it.

    Args:
        wait_s: seconds the services may still need until they answer.
    """
    job = f"helm-test-{secrets.token_hex(4)}"
    with TemporaryDirectory() as directory:
        code = Path(directory, "helm-test", "code")
        code.mkdir(parents=True)
        (code / "main.py").write_text(PROGRAM)
        options = ("--id", job, "-m", "256Mi", "-c", "0.1", "--wait", "--json")
        # The same id each time: submitted again, it is still one job.
        tshell("submit", str(code.parent), *options, wait_s=wait_s)
    log = tshell("logs", job)
    if "the job ran, on" not in log:
        sys.exit(f"job {job} succeeded, but its log is {log!r}")
    tshell("rm", job)
    print(f"job {job} succeeded; its log is kept: {log.strip()}", flush=True)


class Alerts:
    """A subscriber's queue, and a sender of samples beside it."""

    def __init__(self, url: str, host: str) -> None:
        parameters = pika.URLParameters(url)
        if url.startswith("amqps:"):
            parameters.ssl_options = pika.SSLOptions(trust.context(), parameters.host)
        self._link = pika.BlockingConnection(parameters)
        self._channel = self._link.channel()
        self._channel.confirm_delivery()
        self._queue = f"outside.helm-test-{secrets.token_hex(4)}"
        self._channel.queue_declare(self._queue, exclusive=True)
        self._channel.queue_bind(self._queue, "alerts", "alert.#")
        self._host, self._mount = host, f"/helm-test/{secrets.token_hex(4)}"

    def send(self, value: float) -> None:
        """One sample of a file system that does not exist; returns when the broker has it."""
        sample = {
            "item": ITEM,
            "time_ms": time.time_ns() // 1_000_000,
            "value": value,
            "labels": {"mount": self._mount},
        }
        word = self._host.replace(".", "-")
        self._channel.basic_publish(
            "metrics",
            f"samples.{word}",
            json.dumps({"host": self._host, "samples": [sample]}).encode(),
            pika.BasicProperties(content_type="application/json", delivery_mode=2),
            mandatory=True,
        )

    def send_until(self, state: str, value: float, deadline: float) -> dict[str, Any]:
        """Send the value every second until our alert is in this state."""
        while time.monotonic() < deadline:
            self.send(value)
            self._link.sleep(PAUSE_S)
            while (body := self._channel.basic_get(self._queue, auto_ack=True)[2]) is not None:
                alert: dict[str, Any] = json.loads(body)
                ours = alert["series"]["labels"].get("mount") == self._mount
                if ours and alert["state"] == state:
                    return alert
        sys.exit(f"no alert became {state} in time for {ITEM} of {self._host} at {value}")


def follow_alert(wait_s: float) -> None:
    """A file system fills and is emptied; the alert must say both."""
    alerts = Alerts(os.environ["BROKER_URL"], os.environ["HOST"])
    for state, value in (("firing", FULL), ("resolved", EMPTY)):
        alert = alerts.send_until(state, value, time.monotonic() + wait_s)
        print(f"alert {alert['alert_id']} is {state}: {alert['sentence']}", flush=True)


def main() -> None:
    """The program."""
    wait_s = float(os.environ.get("WAIT_S", "0"))
    run_job(wait_s)
    if os.environ.get("BROKER_URL"):
        follow_alert(wait_s)
    else:
        print("no broker URL under the key `outside`: alerts are not followed")


if __name__ == "__main__":
    main()
