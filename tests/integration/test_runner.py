"""The runner on a real broker: confirms, refusals, retries, dead letters, a restart."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from shared.contracts import JobAccepted, JobCancel, JobSubmit, Message, RequestRefused
from shared.embedded.process import wait_until
from shared.messaging import Reject, Retry
from shared.service import Context, Service
from shared.settings import ServiceSettings
from shared.store import Store
from tests.brokers import BrokerUnderTest
from tests.waiting import LIMIT_S


def submit(job_id: str) -> JobSubmit:
    return JobSubmit(
        job_id=job_id, name="x", package="barograph:packages:a.tar.gz", main="train.py"
    )


class Pair:
    """A client and a task service on the broker, with what they saw."""

    def __init__(self, broker: BrokerUnderTest, folder: Path) -> None:
        self.broker = broker
        self.seen: list[str] = []
        self.events: list[Message] = []
        self.trouble: dict[str, Callable[[], None]] = {}
        self.store = Store(f"sqlite:///{folder}/task.db")
        self.client = Service(
            "client",
            self._settings("client"),
            handlers={JobAccepted: self._event, RequestRefused: self._event},
        )
        self.task = Service(
            "task",
            self._settings("task"),
            handlers={JobSubmit: self._submit, JobCancel: self._event},
            store=self.store,
        )

    def start(self) -> None:
        for service in (self.client, self.task):
            service.start()
        for service in (self.client, self.task):
            service.bus.wait_ready()

    def stop(self) -> None:
        self.client.stop()
        self.task.stop()

    def _settings(self, user: str) -> ServiceSettings:
        return ServiceSettings(broker_url=SecretStr(self.broker.url(user)))

    def _submit(self, message: JobSubmit, context: Context) -> Iterable[Message]:
        self.seen.append(message.job_id)
        self.trouble.get(message.job_id, lambda: None)()
        yield JobAccepted(
            job_id=message.job_id,
            name=message.name,
            state="accepted",
            sequence=1,
            at=context.now,
            submit=message,
        )

    def _event(self, message: Message, _context: Context) -> Iterable[Message]:
        self.events.append(message)
        return ()

    def accepted(self) -> list[str]:
        return [m.job_id for m in self.events if isinstance(m, JobAccepted)]

    def refused(self) -> list[RequestRefused]:
        return [m for m in self.events if isinstance(m, RequestRefused)]

    def dead(self, queue: str = "task.jobs") -> list[dict[str, object]]:
        answer = httpx.post(
            f"{self.broker.admin_url}/api/queues/%2F/{queue}.dead/get",
            json={"count": 100, "ackmode": "ack_requeue_false", "encoding": "auto"},
            timeout=60,
        )
        return list(answer.raise_for_status().json())


def soon(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, LIMIT_S, what, alive=lambda: True)


@pytest.fixture
def pair(broker: BrokerUnderTest, tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(broker, tmp_path)
    pair.start()
    yield pair
    pair.stop()


def test_a_message_is_handled_and_its_event_comes_back(pair: Pair) -> None:
    pair.client.publisher.publish([submit("one")])
    soon(lambda: pair.accepted() == ["one"], "the event")
    # The outbox forgets it a moment after the broker has it.
    soon(lambda: pair.store.unsent_count() == 0, "the outbox without it")


def test_a_malformed_message_is_answered_with_every_fault_and_dead_lettered(pair: Pair) -> None:
    pair.dead()
    good = pair.client.bus.prepare(submit("x"))
    bad = dataclasses.replace(good, body=b'{"job_id": "bad", "name": "!", "ps": -1}')
    pair.client.bus.publish_prepared([bad])
    soon(lambda: bool(pair.refused()), "the refusal")
    refused = pair.refused()[0]
    assert refused.job_id == "bad"
    assert {fault.field for fault in refused.faults} == {"name", "package", "main", "ps"}
    soon(lambda: bool(_remember(pair, "dead")), "the dead letter")
    letter = _KEPT["dead"][0]
    assert letter["payload"] == bad.body.decode()
    assert "package: Field required" in letter["properties"]["headers"]["x-reason"]


_KEPT: dict[str, list[dict[str, object]]] = {}


def _remember(pair: Pair, name: str) -> list[dict[str, object]]:
    _KEPT[name] = pair.dead()
    return _KEPT[name]


def test_an_unknown_major_version_is_dead_lettered_with_the_reason(pair: Pair) -> None:
    pair.dead()
    good = pair.client.bus.prepare(submit("future"))
    headers = good.headers | {"cloudEvents_type": "barograph.job.submit.v2"}
    pair.client.bus.publish_prepared([dataclasses.replace(good, headers=headers)])
    soon(lambda: bool(_remember(pair, "version")), "the dead letter")
    reason = _KEPT["version"][0]["properties"]["headers"]["x-reason"]
    assert reason == "job.submit version 2 is unknown; known is 1"
    assert "future" not in pair.seen


def test_a_retry_comes_back_later_and_leaves_nothing_half_done(pair: Pair) -> None:
    failures = iter([Retry("not yet"), RuntimeError("boom")])

    def trouble() -> None:
        for failure in failures:
            raise failure

    pair.trouble["again"] = trouble
    pair.client.publisher.publish([submit("again")])
    soon(lambda: pair.accepted() == ["again"], "the third attempt")
    assert pair.seen == ["again"] * 3


def test_a_rejected_message_is_not_tried_again(pair: Pair) -> None:
    def trouble() -> None:
        raise Reject("never")

    pair.trouble["no"] = trouble
    pair.dead()
    pair.client.publisher.publish([submit("no")])
    soon(lambda: bool(_remember(pair, "no")), "the dead letter")
    assert pair.seen == ["no"]
    assert _KEPT["no"][0]["properties"]["headers"]["x-reason"] == "never"


def test_the_same_event_delivered_twice_has_one_effect(pair: Pair) -> None:
    once = pair.client.bus.prepare(JobCancel(job_id="j"))
    pair.client.bus.publish_prepared([once, once, once])
    pair.client.publisher.publish([submit("after")])
    soon(lambda: pair.accepted() == ["after"], "the message behind them")
    assert len([m for m in pair.events if isinstance(m, JobCancel)]) == 1


def test_nothing_is_lost_when_the_broker_restarts_in_the_middle(pair: Pair) -> None:
    ids = [f"r{number}" for number in range(300)]
    sender = threading.Thread(
        target=lambda: [pair.client.bus.publish([submit(i)], timeout_s=600) for i in ids]
    )
    sender.start()
    soon(lambda: len(pair.seen) > 20, "the first messages")
    pair.broker.restart()
    sender.join()
    soon(lambda: set(pair.accepted()) == set(ids), "every event")


def test_one_bad_message_does_not_spoil_the_others_of_its_batch(pair: Pair) -> None:
    def trouble() -> None:
        raise Reject("never")

    pair.dead()
    pair.trouble["b50"] = trouble
    ids = [f"b{number}" for number in range(100)]
    pair.client.publisher.publish([submit(i) for i in ids])
    soon(lambda: set(pair.accepted()) == set(ids) - {"b50"}, "the other 99")
    soon(lambda: bool(_remember(pair, "batch")), "the dead letter")
    assert len(_KEPT["batch"]) == 1
    assert len(pair.accepted()) == 99
