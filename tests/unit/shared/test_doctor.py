"""``barograph doctor`` names what is wrong from samples to people, and nothing that is well."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from shared.cli.application import app
from shared.cli.examination import Finding, examine, shown
from shared.client.addresses import Address
from shared.client.connection import Connection

WELL = {
    "/readyz": {"ok": True, "wrong": {}},
    "/api/v1/reachability": {
        "problems": [],
        "agents": [{"host": "db7", "at": "2026-01-01T00:00:00Z"}],
        "canary_every_s": 60,
    },
    "/api/v1/channels": [{"name": "mail", "type": "mail", "recipients": 1}],
    "/api/v1/channels/mail/test": {"id": "1", "failed": {}},
}
METRICS = {
    "barograph_partitions_owned": 4.0,
    'barograph_partition_lag_seconds{partition="0"}': 2.0,
    "barograph_outbox_messages": 3.0,
    "barograph_outbox_set_aside_messages": 0.0,
    'barograph_dead_letters{queue="healer.anomalies"}': 0.0,
    'barograph_no_progress{part="outbox"}': 0.0,
    "barograph_oldest_unnotified_critical_seconds": 0.0,
}


@contextmanager
def served(
    answers: dict[str, Any], metrics: dict[str, float], *, late: timedelta = timedelta(0)
) -> Iterator[tuple[str, list[str]]]:
    """A service with its probes, which is the healer with its API, too; what was asked of it."""
    asked: list[str] = []

    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            canary = f"barograph_canary_last_success_timestamp_seconds {now():f}\n"
            lines = canary + "".join(f"{name} {value}\n" for name, value in metrics.items())
            answer = answers.get(self.path)
            status = answer.pop("status", 200) if isinstance(answer, dict) else 200
            body = lines if self.path == "/metrics" else json.dumps(answer)
            self.send_response(status if self.path in {*answers, "/metrics"} else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) - late, usegmt=True)

        def log_message(self, *_: object) -> None:
            """Nothing is to be printed."""

    def now() -> float:
        return datetime.now(UTC).timestamp()

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def found(
    answers: dict[str, Any] | None = None,
    metrics: dict[str, float] | None = None,
    late: timedelta = timedelta(0),
) -> list[Finding]:
    well = served(WELL | (answers or {}), METRICS | (metrics or {}), late=late)
    with well as (url, _), Connection(Address(url, "t")) as healer:
        return list(examine({"healer": url}, healer, test_notice=True))


def test_what_is_well_is_said_to_be() -> None:
    findings = found()
    assert [finding for finding in findings if not finding.ok] == []
    assert {f.check for f in findings} >= {
        "healer: ready",
        "healer: clock",
        "healer: samples",
        "healer: outbox",
        "healer: dead letters",
        "people",
        "node agents",
        "canary",
        "alerts",
        "channel mail",
    }
    assert json.loads(shown(findings, as_json=True))["ok"] is True


def test_a_replica_with_its_share_of_the_streams_is_well() -> None:
    shared = {"barograph_partitions_owned": 1.0, "barograph_replicas_alive": 3.0}
    assert [f for f in found({}, shared) if not f.ok] == []


@pytest.mark.parametrize(
    ("check", "answers", "metrics", "words"),
    [
        (
            "healer: ready",
            {"/readyz": {"status": 503, "ok": False, "wrong": {"broker": "not connected"}}},
            {},
            "broker: not connected",
        ),
        ("healer: samples", {}, {'barograph_partition_lag_seconds{partition="3"}': 90.0}, "90 s"),
        ("healer: samples", {}, {"barograph_partitions_owned": 0.0}, "0 streams owned"),
        (
            "healer: samples",
            {},
            {'barograph_partition_unowned_seconds{partition="2"}': 90.0},
            "1 have no owner",
        ),
        ("healer: outbox", {}, {"barograph_outbox_set_aside_messages": 2.0}, "2 can never"),
        ("healer: outbox", {}, {"barograph_outbox_messages": 5000.0}, "5000 messages wait"),
        (
            "healer: dead letters",
            {},
            {'barograph_dead_letters{queue="healer.anomalies"}': 7.0},
            "7 of healer.anomalies",
        ),
        ("healer: progress", {}, {'barograph_no_progress{part="outbox"}': 1.0}, "none of outbox"),
        ("alerts", {}, {"barograph_oldest_unnotified_critical_seconds": 3600.0}, "3600 s old"),
        (
            "people",
            {"/api/v1/reachability": {"problems": ["No."], "agents": [], "canary_every_s": 0}},
            {},
            "No.",
        ),
        (
            "channel mail",
            {"/api/v1/channels/mail/test": {"status": 502, "id": "1", "failed": {"a@b": "no"}}},
            {},
            "a@b: no",
        ),
    ],
)
def test_what_is_wrong_is_named(
    check: str, answers: dict[str, Any], metrics: dict[str, float], words: str
) -> None:
    wrong = [f for f in found(answers, metrics) if not f.ok]
    assert check in {finding.check for finding in wrong}
    assert any(words in f.detail for f in wrong if f.check == check)


def test_a_canary_that_has_not_come_back_is_wrong() -> None:
    metrics = {"barograph_canary_last_success_timestamp_seconds": 0.0}
    answers = WELL | {"/api/v1/reachability": WELL["/api/v1/reachability"] | {"canary_every_s": 0}}
    assert all(f.ok for f in found(answers, metrics) if f.check == "canary")
    # The last of two samples counts beside the first, so an own service tells of no success.
    with served(WELL, METRICS) as (url, _), Connection(Address(url, "")) as silent:
        findings = list(examine({}, silent, test_notice=False))
    (canary,) = [f for f in findings if f.check == "canary"]
    assert (canary.ok, canary.detail) == (False, "no round was complete yet")


def test_a_clock_that_is_off_is_named() -> None:
    (clock,) = [f for f in found(late=timedelta(minutes=2)) if f.check == "healer: clock"]
    assert not clock.ok


def test_a_service_that_does_not_answer_is_named_and_the_rest_is_looked_at() -> None:
    with served(WELL, METRICS) as (url, _), Connection(Address(url, "")) as healer:
        healths = {"detector": "http://127.0.0.1:1", "healer": url}
        findings = list(examine(healths, healer, test_notice=False))
    wrong = {f.check for f in findings if not f.ok}
    assert wrong == {"detector: ready", "detector: metrics"}


def test_the_command_ends_with_1_where_anything_is_wrong_and_sends_no_test_unless_asked() -> None:
    answers = {"/readyz": {"ok": False, "wrong": {"store": "away"}}}
    with served(WELL | answers, METRICS) as (url, asked):
        options = ["--health", f"healer={url}", "--healer", url, "--no-test-notice", "--json"]
        result = CliRunner().invoke(app, ["doctor", *options])
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert [f["detail"] for f in told["findings"] if not f["ok"]] == ["store: away"]
    assert not [each for each in asked if each.startswith("POST")]
