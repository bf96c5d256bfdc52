"""A machine that is watched and healed: detector, predictor, healer and agent on real servers."""

from __future__ import annotations

import getpass
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from examples.demo.tap import Tap
from shared.cli.healing import app as healing
from shared.contracts import MetricBatch
from shared.contracts.metrics import Sample
from shared.embedded.process import wait_until
from shared.embedded.stack import MODULES, Stack
from shared.messaging import Bus
from shared.settings import host_name
from shared.topology import Principal
from tests.waiting import LIMIT_S

CAPACITY_BYTES = 1_000_000
STEP_S = 2
DISK, PROGRAM = "df.bytes.used.percent", "proc.cpu.used.percent"
_PARTS = ("detector", "predictor", "healer", "agent")
_OLD_S = 86_400


class Switch:
    """A dead-man's switch: an HTTP server that keeps what it is told."""

    def __init__(self) -> None:
        self.pings: list[dict[str, Any]] = []
        pings = self.pings

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                pings.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The test's output is not its log."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/ping"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Machine:
    """The stack, the watched directories that fill, and everything that is said and mailed."""

    def __init__(self, folder: Path) -> None:
        self.volumes = folder / "volumes"
        self.volumes.mkdir()
        self._folder = folder
        self.switch = Switch()
        modules = {name: MODULES[name] for name in _PARTS}
        self.stack = Stack(folder / "stack", env=self._settings(), modules=modules)
        self.host = host_name()
        self._bus: Bus | None = None

    @contextmanager
    def running(self) -> Iterator[Machine]:
        try:
            self.stack.start()
            bindings = {
                "from.predictor": ["alarm.#"],
                "from.detector": ["anomaly.#"],
                "from.healer": ["action.#", "remediation.#", "alert.#"],
                "from.agent": ["remediation.#"],
            }
            self._tap = Tap(self.stack.broker.admin_url, "tap.stories", bindings)
            self._bus = Bus(self.stack.broker.url("outside"), Principal.OUTSIDE)
            self._bus.start(consume=False)
            self._bus.wait_ready()
            self._see_a_forecast()
            yield self
        finally:
            if self._bus is not None:
                self._bus.stop()
            self.stack.stop()
            self.switch.stop()

    def _see_a_forecast(self) -> None:
        """Until it forecasts, a story that hurries past a threshold would not be foreseen."""
        mount, began = Path("/warm"), time.monotonic()
        self.remember(mount, range(60), host="elsewhere")

        def foreseen() -> bool:
            risen = (time.monotonic() - began) / STEP_S
            self._publish("elsewhere", mount, time.time(), min(89.0, 60 + risen))
            return bool(self.said("alarm.predicted", str(mount)))

        self.until(foreseen, "the first forecast")

    def _publish(self, host: str, mount: Path, time_s: float, value: float) -> None:
        sample = Sample(
            item=DISK, time_ms=int(time_s * 1000), value=value, labels={"mount": str(mount)}
        )
        assert self._bus is not None
        self._bus.publish([MetricBatch(host=host, samples=(sample,))], timeout_s=60)

    def _settings(self) -> dict[str, str]:
        names = ("filling", "undecided", "stopped", "killed")
        mounts = [str(self.volumes / name) for name in names]
        clean = {"level": "automatic", "remediation": "clean-logs"}
        rules = [
            {
                "labels": {"mount": mounts[1]},
                "level": "approve",
                "remediation": "clean-logs",
                "approval_s": 4,
            },
            {"labels": {"mount": f"{self.volumes}/*"}, **clean},
            {"items": PROGRAM, "level": "approve", "remediation": "kill-runaway"},
            {"level": "observe"},
        ]
        runaway = {
            "programs": ["burner"],
            "users": [getpass.getuser(), "root"],
            "min_cpu": 0.1,
            "min_age_s": 0,
            "grace_s": 2,
        }
        alerting = {
            "group_by": ["host", "item", "mount", "program"],
            "group_wait_s": 0,
            "group_interval_s": 0,
        }
        # A straight line is all these histories need, and it waits for no compiler.
        models = {"stable": "drift", "volatile": "drift"}
        predictor = {"resolution_s": STEP_S, "horizon": 30, "models": models}
        return {
            # A story begins when the agent is half a minute old, and burns for seconds.
            "BAROGRAPH_DETECTOR_ENGINE": json.dumps({"burst_confirm_s": 10, "startup_s": 30}),
            "BAROGRAPH_PREDICTOR_ENGINE": json.dumps(predictor),
            "BAROGRAPH_HEALER_POLICY": json.dumps({"rules": rules, "runs_per_hour": 20}),
            "BAROGRAPH_HEALER_ALERTING": json.dumps(alerting),
            "BAROGRAPH_HEALER_SETTLE_S": "1",
            "BAROGRAPH_HEALER_CANARY_EVERY_S": "10",
            "BAROGRAPH_HEALER_CHANNELS": json.dumps(
                [{"type": "deadman", "name": "switch", "url": self.switch.url}]
            ),
            "BAROGRAPH_AGENT_INTERVAL_S": "0.5",
            "BAROGRAPH_AGENT_ITEMS": json.dumps([DISK, PROGRAM, "host.alive"]),
            "BAROGRAPH_AGENT_VOLUMES": json.dumps(
                [{"path": mount, "capacity_bytes": CAPACITY_BYTES} for mount in mounts]
            ),
            "BAROGRAPH_AGENT_PROGRAMS": json.dumps([{"program": "burner", "cores": 0.04}]),
            "BAROGRAPH_AGENT_CLEAN": json.dumps([{"root": mount} for mount in mounts]),
            "BAROGRAPH_AGENT_REMEDIATIONS": json.dumps({"kill-runaway": runaway}),
        }

    # Events on the machine

    def fill(self, name: str, percent: float, files: int = 50) -> list[Path]:
        """Old finished logs that take so much of a volume, there all at once."""
        volume, number = self.volumes / name, len(list(self.volumes.iterdir()))
        made = self._folder / f"made-{name}-{number}"
        made.mkdir()
        size, old = int(percent / 100 * CAPACITY_BYTES / files), time.time() - _OLD_S * 2
        for number in range(files):
            path = made / f"app.log.{number}.gz"
            path.write_bytes(b"x" * size)
            os.utime(path, (old - number, old - number))
        if volume.exists():
            for path in made.iterdir():
                path.rename(volume / path.name)
        else:
            made.rename(volume)
        return [volume / f"app.log.{number}.gz" for number in range(files)]

    def remember(self, mount: Path, values: Sequence[float], host: str = "") -> None:
        """A past of the volume: values in percent up to now, as if the agent had seen them."""
        began = time.time() - len(values) * STEP_S
        for number, value in enumerate(values):
            self._publish(host or self.host, mount, began + number * STEP_S, value)

    # Observations of the machine

    def said(self, key: str, label: str) -> list[dict[str, Any]]:
        """Messages of a type about the series with this label, oldest first."""
        return [
            event
            for event in self._tap.take()
            if event["key"].startswith(key)
            and label in event.get("series", {}).get("labels", {}).values()
        ]

    def mails(self, label: str) -> list[EmailMessage]:
        """Mails about the series with this label, oldest first."""
        return [mail for mail in self.stack.mailbox.messages() if label in text_of(mail)]

    def runs(self, label: str) -> list[dict[str, Any]]:
        """What the agent's audit says was begun on the series with this label, not as a dry run."""
        return self._audited("begin", label)

    def done(self, label: str) -> bool:
        """Return whether the last of them has come to its end."""
        return len(self._audited("end", label)) == len(self.runs(label)) > 0

    def _audited(self, event: str, label: str) -> list[dict[str, Any]]:
        path = self.stack.state / "agent" / "audit" / "remediations.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        return [
            entry
            for entry in entries
            if entry["event"] == event and not entry["dry_run"] and label in entry["series"]
        ]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The healer's API."""
        token = {"authorization": f"Bearer {self.stack.file.healer_token}"}
        url = f"{self.stack.file.healer_url}/api/v1/{path}"
        answer = httpx.request(method, url, json=body, headers=token, timeout=60, trust_env=False)
        return answer.raise_for_status().json()

    def barograph(self, *arguments: str) -> str:
        """Return what ``barograph healing`` prints."""
        file = self.stack.file
        address = ["--healer", file.healer_url, "--token", file.healer_token]
        result = CliRunner().invoke(healing, [*arguments, *address], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    def mail(self, label: str, words: str) -> EmailMessage:
        """The first mail about the series with this label whose subject has these words."""
        found: list[EmailMessage] = []

        def came() -> bool:
            found[:] = [mail for mail in self.mails(label) if words in mail["subject"]]
            return bool(found)

        self.until(came, f"a mail about {label} that says {words}")
        return found[0]

    def until(self, condition: Callable[[], object], what: str) -> None:
        wait_until(lambda: bool(condition()), LIMIT_S, what, alive=lambda: True)


def text_of(mail: EmailMessage) -> str:
    """Its plain text."""
    body = mail.get_body(("plain",))
    return body.get_content() if body else ""


def link(mail: EmailMessage, label: str) -> str:
    """The address behind one of the mail's buttons."""
    found = re.search(rf"^{label}: (\S+)$", text_of(mail), re.MULTILINE)
    assert found, f"{label} is offered in\n{text_of(mail)}"
    return found[1]
