"""A stack whose services say what a test wants to see on the pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from shared.contracts import CorrelationChanged, HealthReported, Message
from shared.contracts.message import deterministic_id
from shared.embedded.process import LOOPBACK
from shared.messaging import Bus
from shared.topology import Principal
from tests.browser.console import Console
from tests.remote_write import request_1
from tests.unit.client.alerts.events import action, changed, predicted, verified

RULE = deterministic_id("a rule")
ACTION = deterministic_id("an action of a live page")
Event = Callable[["Story"], None]


class Receiver:
    """A webhook's other side."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.told = told
        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Story:
    """The stack, and the voices of its services."""

    def __init__(self, console: Console, receiver: Receiver) -> None:
        self.console, self.receiver = console, receiver
        self.alert = console.ask("alerts")[0]["incident_id"]

    def says(self, principal: Principal, *messages: Message) -> None:
        urls = self.console.stack.file.broker_urls
        bus = Bus(urls[principal.value], principal, "live")
        bus.start(consume=False)
        bus.wait_ready()
        bus.publish(messages)
        bus.stop()

    def client(self) -> httpx.Client:
        """The client's API, as a program uses it."""
        token = {"Authorization": f"Bearer {self.console.stack.file.client_token}"}
        url = f"{self.console.url}/api/v1"
        return httpx.Client(base_url=url, headers=token, timeout=60, trust_env=False)

    def judged(self, *, anomaly: bool) -> None:
        body = {"anomaly": anomaly, "by": "Bob", "reason": "a live judgement"}
        way = f"/api/v1/alerts/{self.alert}/judge"
        self.console.healer.post(way, json=body).raise_for_status()


def an_alert(story: Story) -> None:
    series = {"host": "live-host", "item": "cpu.user", "labels": {}}
    event = changed(1, "firing", alert_id=deterministic_id("live alert"), series=series)
    story.says(Principal.HEALER, event)


def an_action(story: Story) -> None:
    ids = {"action_id": ACTION, "incident_id": story.alert, "target": "live-target"}
    story.says(Principal.HEALER, action(1, "proposed", expires=None, **ids))


def a_prediction(story: Story) -> None:
    soon_ms = round((datetime.now(UTC) + timedelta(minutes=30)).timestamp() * 1000)
    series = {"host": "live-forecast", "item": "df.bytes.used.percent", "labels": {}}
    times = {"crossing_ms": soon_ms + 1, "earliest_ms": soon_ms, "latest_ms": soon_ms + 2}
    event_id = deterministic_id("live prediction")
    story.says(Principal.PREDICTOR, predicted(event_id=event_id, series=series, **times))


def an_effect(story: Story) -> None:
    series = {"host": "live-effect", "item": "df.bytes.used.percent", "labels": {}}
    ids = {"incident_id": story.alert, "command_id": deterministic_id("live action")}
    story.says(Principal.HEALER, verified(series=series, at=datetime.now(UTC), **ids))


def a_report(story: Story) -> None:
    fields = {"scope": "machine", "name": "live-machine", "score": 61.0, "verdict": "watch"}
    terms = [{"name": "memory used", "lost": 39.0, "sentence": "memory is live"}]
    told = {"terms": terms, "first": "memory is live", "at": datetime.now(UTC)}
    story.says(Principal.HEALER, HealthReported.model_validate(fields | told))


def a_worse_report(story: Story) -> None:
    fields = {"scope": "machine", "name": "live-machine", "score": 12.0, "verdict": "sick"}
    terms = [{"name": "disk used", "lost": 88.0, "sentence": "the disk is live"}]
    told = {"terms": terms, "first": "the disk is live", "at": datetime.now(UTC)}
    story.says(Principal.HEALER, HealthReported.model_validate(fields | told))


def a_rule(story: Story) -> None:
    numbers = {"support": 0.1, "confidence": 0.9, "lift": 4.0, "lag_s": 90.0, "count": 23}
    named = {"rule_id": RULE, "sequence": 1, "scope": "machine", "at": datetime.now(UTC)}
    pair = {"cause": "live.cause", "effect": "live.effect", "transactions": 99}
    rule = CorrelationChanged.model_validate(numbers | named | pair | {"state": "proposed"})
    story.says(Principal.HEALER, rule)


def a_silence(story: Story) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"matchers": ['host="nobody"'], "ends_at": ends, "owner": "Bob", "reason": "a live one"}
    story.console.healer.post("/api/v1/silences", json=body).raise_for_status()


def a_series(story: Story) -> None:
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    named = {"__name__": "cpu.user", "instance": "live-series"}
    story.console.write(request_1((named, [(now_ms - n * 15_000, 20.0) for n in range(4, 0, -1)])))


def a_value(story: Story) -> None:
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    named = {"__name__": "cpu.user", "instance": "live-series"}
    story.console.write(request_1((named, [(now_ms, 77.25)])))


def a_job(story: Story) -> None:
    body = {"name": "live-job", "main": "train.py", "package": "barograph:packages:none.tar.gz"}
    with story.client() as http:
        http.post("/jobs", json=body).raise_for_status()
