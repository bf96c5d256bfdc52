"""The cost of the console's pages with a full store: the last line is JSON.

A store is filled with alerts, open predictions and jobs; then each page is asked for in turn, as
a browser would, over HTTP on the loopback address. Of each page it prints the median of the wall
time and of the processor time of server and caller, both in milliseconds, and the size in bytes
after gzip. Processor time holds on a busy machine, too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import httpx

from bench.surroundings import surroundings
from services.client.alerts.model import AlertModel
from services.client.alerts.records import ALERTS, EPISODES, AlertView, Episode
from services.client.api.app import create_app
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.questions import Questions
from services.client.records import JOBS, JobView
from services.client.settings import ClientSettings
from shared.contracts import JobSubmit, Message, Question
from shared.contracts.message import deterministic_id
from shared.service.http import HttpServer
from shared.storage import MemoryStore
from shared.store import Store

PAGES = (
    "/",
    "/alerts",
    "/alerts?search=h99",
    "/alerts?group=host",
    "/forecasts",
    "/forecasts?offset=9900",
    "/jobs",
    "/jobs?state=failed",
    "/jobs?search=s-99",
    "/jobs?search=digits",
    f"/alerts/{deterministic_id('alert', 0)}",
)
_STATES = ("running", "succeeded", "failed", "starting")


class _Nobody:
    """Looking at pages publishes nothing but questions, which nobody answers."""

    def publish(self, messages: Iterable[Message], **how: object) -> None:
        if any(not isinstance(each, Question) for each in messages):
            raise AssertionError(messages, how)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000, help="of each kind")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/client.db")
        _fill(store, options.records)
        model, objects = ReadModel(store), MemoryStore()
        app = create_app(
            ClientSettings(),
            _Nobody(),
            model,
            AlertModel(store),
            objects,
            Logs(model, objects, "barograph"),
            Followers(),
            Questions(_Nobody()),
        )
        server = HttpServer(app, "127.0.0.1", 0)
        server.start()
        try:
            taken = _measure(server.url, options.rounds)
        finally:
            server.stop()
            store.close()
    fields = {"records": options.records, "pages": taken, "surroundings": surroundings()}
    print(json.dumps(fields))
    return 0


def _measure(url: str, rounds: int) -> dict[str, dict[str, float]]:
    costs: dict[str, list[tuple[float, float, int]]] = {page: [] for page in PAGES}
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        for _ in range(rounds):
            for page in PAGES:
                begun, used = time.perf_counter(), time.process_time()
                answer = http.get(page).raise_for_status()
                wall, cpu = time.perf_counter() - begun, time.process_time() - used
                costs[page].append((wall * 1000, cpu * 1000, len(gzip.compress(answer.content))))
    names = ("wall_ms", "cpu_ms", "gzip_bytes")
    return {
        page: {
            name: round(statistics.median(column), 1)
            for name, column in zip(names, zip(*taken, strict=True), strict=True)
        }
        for page, taken in costs.items()
    }


def _fill(store: Store, many: int) -> None:
    now = datetime.now(UTC)
    with store.transaction() as records:
        records.put_all(ALERTS, [_alert(n, now) for n in range(many)])
    with store.transaction() as records:
        records.put_all(EPISODES, [_prediction(n, now) for n in range(many)])
    with store.transaction() as records:
        records.put_all(JOBS, [_job(n, now) for n in range(many)])


def _named(number: int) -> dict[str, str]:
    return {
        "host": f"h{number}",
        "item": "df.bytes.used.percent",
        "labels": "mount=/var",
        "series": f"h{number} df.bytes.used.percent mount=/var",
    }


def _alert(number: int, now: datetime) -> AlertView:
    fields = {
        "alert_id": deterministic_id("alert", number),
        "sequence": 1,
        "state": ("firing", "predicted", "resolved")[number % 3],
        "severity": ("critical", "warning", "info")[number // 3 % 3],
        "family": "disk",
        "value": 81.5,
        "threshold": 80.0,
        "crossing_ms": None,
        "sentence": "The disk is nearly full, and it grows by 3 % an hour.",
        "handling": "mail",
        "acknowledged_by": "",
        "outcome": "",
        "first_at": now,
        "at": now,
    }
    return AlertView.model_validate(fields | _named(number))


def _prediction(number: int, now: datetime) -> Episode:
    now_ms = round(now.timestamp() * 1000)
    fields = {
        "event_id": deterministic_id("prediction", number),
        "kind": "prediction",
        "received_at": now,
        "revision": 1,
        "opened_ms": now_ms,
        "revised_ms": now_ms,
        "value": 71.0,
        "threshold": 80.0,
        "earliest_ms": now_ms + number * 7919 % 86_400 * 1000,
        "latest_ms": now_ms + 90_000_000,
        "probability": 0.9,
    }
    return Episode.model_validate(fields | _named(number))


def _job(number: int, now: datetime) -> JobView:
    job_id = f"digits-{number}"
    submit = JobSubmit(
        job_id=job_id, name="digits", main="train.py", package="barograph:packages:x.tar.gz"
    )
    at = now - timedelta(seconds=number)
    return JobView(
        job_id=job_id,
        name="digits",
        state=_STATES[number % len(_STATES)],
        sequence=3,
        created_at=at,
        updated_at=at,
        submit=submit,
    )


if __name__ == "__main__":
    raise SystemExit(main())
