"""A request that was understood and refused is answered; it is no dead letter."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.task import handlers
from shared.contracts import Fault, JobSubmit, Message
from shared.messaging import Delivery
from shared.service import Context
from shared.service.inlet import Inlet
from shared.storage import StorageUnavailable
from shared.store import Store
from tests.recording_bus import RecordingBus

JOB = {"job_id": "a", "name": "x", "main": "a.py", "package": "barograph:packages:x.tar.gz"}


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store("sqlite://")
    yield made
    made.close()


def settled(store: Store, *bodies: dict[str, Any]) -> list[Any]:
    """Return what is published when these submits came, of which only those with 1 core can run."""

    def faults(submit: JobSubmit) -> tuple[Fault, ...]:
        wrong = submit.resources.cpu > 1
        return (Fault(field="resources.cpu", problem="too many"),) if wrong else ()

    bus = RecordingBus("task")
    submit = {JobSubmit: handlers.job_submit(faults)}
    inlet = Inlet(bus, submit, store, lambda: datetime.now(UTC))
    inlet.handle(_deliveries(*bodies))
    return bus.published


def _deliveries(*bodies: dict[str, Any]) -> list[Delivery]:
    return [
        Delivery(
            queue="task.jobs",
            routing_key="job.submit",
            exchange="jobs",
            body=json.dumps(body).encode(),
            headers={},
            message_id=uuid.uuid4().hex,
            content_type="application/json",
            tag=number,
        )
        for number, body in enumerate(bodies)
    ]


def test_faults_are_answered_and_not_kept_and_neighbours_are_accepted(store: Store) -> None:
    too_large = JOB | {"job_id": "b", "resources": {"cpu": 2}}
    published = settled(store, JOB, too_large, JOB | {"job_id": "c"})
    keys = sorted(out.routing_key for out in published)
    assert keys == ["job.accepted", "job.accepted", "request.refused.job.submit"]
    assert not [out for out in published if "x-reason" in out.headers]
    (refused,) = [json.loads(o.body) for o in published if "refused" in o.routing_key]
    assert (refused["job_id"], refused["faults"][0]["field"]) == ("b", "resources.cpu")


def test_a_used_id_is_answered_and_what_is_malformed_is_kept(store: Store) -> None:
    settled(store, JOB)
    other = settled(store, JOB | {"args": ["--more"]})
    assert [out.routing_key for out in other] == ["request.refused.job.submit"]
    malformed = settled(store, JOB | {"main": "/etc/passwd"})
    assert [out for out in malformed if "x-reason" in out.headers]


@pytest.mark.parametrize("size", [1, 3])
def test_a_delivery_is_counted_once_however_often_its_transaction_was_undone(
    store: Store, size: int
) -> None:
    outages = iter([True, True])

    def handle(_message: JobSubmit, _context: Context) -> Iterable[Message]:
        if next(outages, False):
            raise StorageUnavailable("no answer")
        return ()

    bus = RecordingBus("task")
    inlet = Inlet(bus, {JobSubmit: handle}, store, lambda: datetime.now(UTC))
    malformed = JOB | {"main": "/etc/passwd"}
    batch = _deliveries(*[malformed] * (size - 1), JOB)
    before = _counts()
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            inlet.handle(batch)
    assert (_counts() - before, bus.published) == (Counter(), [])
    inlet.handle(batch)
    assert _counts() - before == +Counter(handled=1, rejected=size - 1)


def _counts() -> Counter[str]:
    outcomes = ("handled", "rejected", "retried", "duplicate", "declined")
    samples = {
        outcome: REGISTRY.get_sample_value(
            "barograph_messages_total", {"queue": "task.jobs", "outcome": outcome}
        )
        for outcome in outcomes
    }
    return Counter({outcome: int(value or 0) for outcome, value in samples.items()})
