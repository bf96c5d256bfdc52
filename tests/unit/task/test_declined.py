"""A request that was understood and refused is answered; it is no dead letter."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from services.task import handlers
from shared.contracts import Fault, JobSubmit
from shared.messaging import Bus, Delivery
from shared.service.inlet import Inlet
from shared.store import Store

JOB = {"job_id": "a", "name": "x", "main": "a.py", "package": "barograph:packages:x.tar.gz"}


class _Published(Bus):
    """A bus that is never connected and keeps what it is asked to publish."""

    def __init__(self) -> None:
        super().__init__("amqp://task:unused@127.0.0.1:1/%2F", "task")
        self.published: list[Any] = []

    def publish_prepared(self, outgoing: Any, timeout_s: float = 60.0) -> None:
        del timeout_s
        self.published.extend(outgoing)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store("sqlite://")
    yield made
    made.close()


def settled(store: Store, *bodies: dict[str, Any]) -> list[Any]:
    """What is published when these submits came, of which only those with 1 core can run."""

    def faults(submit: JobSubmit) -> tuple[Fault, ...]:
        wrong = submit.resources.cpu > 1
        return (Fault(field="resources.cpu", problem="too many"),) if wrong else ()

    bus = _Published()
    submit = {JobSubmit: handlers.job_submit(faults)}
    inlet = Inlet(bus, submit, store, lambda: datetime.now(UTC))
    inlet.handle(
        [
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
    )
    return bus.published


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
