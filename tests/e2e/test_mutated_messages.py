"""Ten thousand random and mutated messages: no crash, and each is handled or dead-lettered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from shared.contracts import (
    JobCancel,
    JobRemove,
    JobSubmit,
    Member,
    PodExited,
    PodReported,
    RendezvousClose,
    Role,
)
from shared.embedded.process import wait_until
from shared.messaging import Bus, DeadLetters, Outgoing
from shared.topology import Principal
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.jobs import JobPlatform
from tests.waiting import LIMIT_S

_MESSAGES = 10_000
_FINAL = ("handled", "duplicate", "rejected", "declined")


@pytest.fixture
def platform(
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[JobPlatform]:
    folder = tmp_path_factory.mktemp("mutated")
    running = JobPlatform(broker, object_store, folder)
    running.start()
    yield running
    running.stop()


def _seeds() -> list[tuple[str, str, bytes]]:
    """Valid messages of jobs that do not exist: (queue's name, routing key, body)."""
    now, member = datetime.now(UTC), Member(role=Role.WORKER, index=0, incarnation=1)
    submit = JobSubmit(
        job_id="m-1",
        name="m",
        package="nowhere:a:b.tar.gz",
        main="m.py",
        workers=2,
        ps=1,
        type="distribute",
    )
    exited = PodExited(job_id="m-1", member=member, exit_code=1, at=now)
    reported = PodReported(job_id="m-1", member=member, host="h", port=1, at=now)
    messages = [submit, JobCancel(job_id="m-1"), JobRemove(job_id="m-1"), exited]
    seeds = [("task.jobs", m.routing_key(), m.model_dump_json().encode()) for m in messages]
    reports = [reported, RendezvousClose(job_id="m-1")]
    seeds += [("autospec.reports", m.routing_key(), m.model_dump_json().encode()) for m in reports]
    return seeds


def _mutated(chance: random.Random, body: bytes) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(400))
    if kind == 1:
        return body[: chance.randrange(len(body))]
    if kind == 2:
        return b'{"job_id": ' * chance.randrange(1, 2000)
    if kind == 3:
        return body.replace(b'"m-1"', chance.choice([b"null", b"1e999", b'"\\ud800"', b"[[]]"]))
    changed = bytearray(body)
    for _ in range(chance.randrange(1, 8)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _headers(chance: random.Random) -> dict[str, object]:
    name, value = chance.choice(
        [
            ("cloudEvents_type", "barograph.job.submit.v99"),
            ("cloudEvents_type", "\x00"),
            ("cloudEvents_id", "x" * 5000),
            ("x-attempt", "many"),
            ("x-attempt", -5),
            ("x-attempt", [1, {"a": 2}]),
            ("traceparent", "00-zz"),
            ("content-type", 7),
            ("nested", {"a": {"b": [1, 2, 3]}}),
        ]
    )
    return {name: value} if chance.random() < 0.3 else {}


def _settled(queue: str) -> float:
    """Deliveries that do not come again; one that is retried does."""
    return sum(_count(queue, outcome) for outcome in _FINAL)


def test_every_mutated_message_is_handled_or_dead_lettered(
    platform: JobPlatform, broker: BrokerUnderTest
) -> None:
    letters = DeadLetters(broker.url("operator"))
    queues = ("task.jobs", "autospec.reports")
    dead_before = letters.counts()
    before = {queue: _settled(queue) for queue in queues}
    rejected_before = {q: _count(q, "rejected") for q in queues}
    chance = random.Random(20_260_101)
    seeds = _seeds()
    sent = dict.fromkeys(queues, 0)
    outgoing = []
    for number in range(_MESSAGES):
        queue, key, body = chance.choice(seeds)
        sent[queue] += 1
        changed = _mutated(chance, body)
        # Straight to the queue, as a key no binding knows would be the publisher's own affair.
        headers = {"x-original-routing-key": key} | _headers(chance)
        outgoing.append(Outgoing("", queue, changed, f"m{number}", headers))
    operator = Bus(broker.url("operator"), Principal.OPERATOR)
    operator.start()
    operator.wait_ready()
    operator.publish_prepared(outgoing, timeout_s=600)
    operator.stop()

    def all_settled() -> bool:
        return all(_settled(q) - before[q] >= sent[q] for q in queues)

    wait_until(all_settled, LIMIT_S, "the last message", alive=lambda: True)
    for queue in queues:
        rejected = _count(queue, "rejected") - rejected_before[queue]
        expected = dead_before.get(queue, 0) + rejected

        def all_kept(queue: str = queue, expected: float = expected) -> bool:
            # They are counted before the broker has confirmed the last of them; one whose
            # confirmation was late is sent again, so that there may be more.
            return letters.counts()[queue] >= expected

        wait_until(all_kept, LIMIT_S, "every rejected message, kept,", alive=lambda: True)
        assert rejected > sent[queue] / 2
    job_id = platform.submit(platform.package("print('still here')\n"))
    assert platform.wait_end(job_id).state == "succeeded"


def _count(queue: str, outcome: str) -> float:
    labels = {"queue": queue, "outcome": outcome}
    return REGISTRY.get_sample_value("barograph_messages_total", labels) or 0
