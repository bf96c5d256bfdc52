"""Programs that know only the document: Debian's amqp-tools and Node's amqplib."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import jsonschema
import pytest

from shared.contracts import AlertChanged, AlertState, JobRemoved, JobState, SeriesRef, Severity
from shared.embedded.patience import Patience
from shared.messaging import BrokerUnavailable, Bus, DeadLetters
from shared.topology import Principal
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.foreign import run_node
from tests.jobs import JobPlatform
from tests.waiting import LIMIT_S

_DOCUMENT = json.loads(
    (Path(__file__).parents[2] / "docs" / "reference" / "asyncapi.json").read_text()
)


@pytest.fixture(scope="module")
def platform(
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[JobPlatform]:
    running = JobPlatform(broker, object_store, tmp_path_factory.mktemp("foreign"))
    running.start()
    yield running
    running.stop()


def job_text(platform: JobPlatform, job_id: str) -> str:
    """A job message written by hand and checked against the published schema alone."""
    package = platform.package("print('ran', flush=True)\n")
    message = {"job_id": job_id, "name": "by-hand", "package": package, "main": "main.py"}
    schema = _DOCUMENT["components"]["schemas"]["JobSubmit"]
    resolved = {**schema, "components": {"schemas": _DOCUMENT["components"]["schemas"]}}
    jsonschema.Draft202012Validator(resolved).validate(message)
    return json.dumps(message)


def where(name: str) -> tuple[str, str]:
    """Exchange and routing key of a message, as the document gives them."""
    channel = _DOCUMENT["channels"][name]
    return channel["bindings"]["amqp"]["exchange"]["name"], channel["address"]


def amqp_publish(url: str, exchange: str, key: str, lines: str) -> None:
    subprocess.run(
        [
            "amqp-publish",
            "-u",
            url,
            "-e",
            exchange,
            "-r",
            key,
            "-C",
            "application/json",
            "-p",
            "-l",
        ],
        input=lines,
        text=True,
        check=True,
        timeout=60,
    )


def test_a_job_published_by_amqp_publish_a_hundred_times_runs_once(platform: JobPlatform) -> None:
    exchange, key = where("JobSubmit")
    text = job_text(platform, "amqp-tools-1")
    amqp_publish(platform.broker.url("outside"), exchange, key, (text + "\n") * 100)

    end = platform.wait_end("amqp-tools-1")
    assert end.state is JobState.SUCCEEDED
    settled = _queue_empty(platform.broker, "task.jobs")
    platform.until(settled, "the last of the hundred", "amqp-tools-1")
    kinds = [event.TYPE for event in platform.told("amqp-tools-1")]
    assert kinds == ["job.accepted", "job.starting", "job.running", "job.succeeded"]
    assert platform.stored_log("amqp-tools-1") == "ran\n"


def _queue_empty(broker: BrokerUnderTest, queue: str) -> Callable[[], bool]:
    def empty() -> bool:
        answer = httpx.get(f"{broker.admin_url}/api/queues/%2F/{queue}", timeout=60).json()
        return bool(answer.get("messages", 1) == 0)

    return empty


def test_a_job_published_by_amqplib_runs(platform: JobPlatform) -> None:
    exchange, key = where("JobSubmit")
    text = job_text(platform, "amqplib-1")
    url = platform.broker.url("outside")
    done = run_node("publish.mjs", url, exchange, key, stdin=text.encode())
    assert done.returncode == 0, done.stderr
    assert platform.wait_end("amqplib-1").state is JobState.SUCCEEDED


def test_a_malformed_job_is_answered_with_every_fault_and_kept(platform: JobPlatform) -> None:
    letters = DeadLetters(platform.broker.url("operator"))
    letters.replay("task.jobs")
    exchange, key = where("JobSubmit")
    body = '{"job_id": "broken-1", "workers": "many", "main": "/etc/passwd"}'
    amqp_publish(platform.broker.url("outside"), exchange, key, body + "\n")

    def refused() -> bool:
        return any(r.job_id == "broken-1" for r in platform.refusals)

    platform.until(refused, "the refusal")
    answer = next(r for r in platform.refusals if r.job_id == "broken-1")
    assert {f.field for f in answer.faults} == {"name", "package", "workers", "main"}
    platform.until(lambda: letters.counts()["task.jobs"] >= 1, "the dead letter")
    assert any(letter.body.decode().startswith(body[:20]) for letter in letters.look("task.jobs"))


def test_an_outsider_may_neither_read_the_services_queues_nor_speak_for_them(
    platform: JobPlatform,
) -> None:
    url = platform.broker.url("outside")
    read = subprocess.run(
        ["amqp-get", "-u", url, "-q", "task.jobs"], capture_output=True, timeout=60, check=False
    )
    assert b"ACCESS_REFUSED" in read.stdout + read.stderr
    bus = Bus(url, Principal.TASK)
    bus.start(consume=False)
    bus.wait_ready()
    try:
        with pytest.raises(BrokerUnavailable, match="refused"):
            bus.publish([_event()], timeout_s=60)
    finally:
        bus.stop()


def _event() -> JobRemoved:
    return JobRemoved(job_id="x", name="x", state=JobState.FAILED, sequence=1, at=datetime.now(UTC))


def test_a_subscriber_with_a_pattern_receives_the_alerts_it_wants(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    healer = Bus(broker.url("healer"), Principal.HEALER)
    healer.start()
    healer.wait_ready()
    received = tmp_path / "received"
    keep = tmp_path / "keep.sh"
    keep.write_text(f"#!/bin/sh\ncat >> '{received}'\n")
    keep.chmod(0o700)
    command = ["amqp-consume", "-u", broker.url("outside"), "-e", "alerts"]
    command += ["-r", "alert.*.critical.#", "-x", "-c", "2", str(keep)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as subscriber:
        try:
            patience = Patience(LIMIT_S)
            number = 0
            # Its binding appears when it appears: publish until it has what it came for.
            while subscriber.poll() is None and not patience.is_over():
                number += 1
                healer.publish(
                    [_alert(number, Severity.WARNING), _alert(number, Severity.CRITICAL)]
                )
                time.sleep(0.1)
            assert subscriber.wait(60) == 0, subscriber.stderr and subscriber.stderr.read()
        finally:
            subscriber.kill()
            healer.stop()
    texts = received.read_text().replace("}{", "}\n{").splitlines()
    alerts = [AlertChanged.model_validate_json(text) for text in texts]
    assert len(alerts) == 2
    assert {a.severity for a in alerts} == {Severity.CRITICAL}


def _alert(number: int, severity: Severity) -> AlertChanged:
    return AlertChanged(
        alert_id="00000000-0000-4000-8000-000000000000",
        sequence=number,
        state=AlertState.PREDICTED,
        severity=severity,
        family="disk",
        series=SeriesRef(host="host17", item="df.bytes.used.percent"),
        value=80,
        sentence="will be full",
        at=datetime.now(UTC),
    )
