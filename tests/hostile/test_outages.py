"""What a service relies on runs full, or runs twice: messages wait, and each is handled once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from shared.contracts import JobAccepted, JobSubmit, Message
from shared.service import Context, Service
from shared.settings import ServiceSettings
from shared.store import Collection, Store
from tests.brokers import BrokerUnderTest
from tests.integration.test_runner import submit
from tests.small_disk import small_disk
from tests.waiting import eventually


class Effect(BaseModel):
    """How often a job's message took effect."""

    job_id: str
    times: int


EFFECTS = Collection("effects", Effect, key=lambda effect: effect.job_id)


def _count(job_id: str, context: Context) -> None:
    before = context.records.get(EFFECTS, job_id)
    times = before.times + 1 if before else 1
    context.records.put(EFFECTS, Effect(job_id=job_id, times=times))


def _on_submit(message: JobSubmit, context: Context) -> Iterable[Message]:
    _count(message.job_id, context)
    yield accepted(message, context)


def _on_accepted(message: JobAccepted, context: Context) -> Iterable[Message]:
    _count(message.job_id, context)
    return ()


def accepted(job: JobSubmit, context: Context) -> JobAccepted:
    return JobAccepted(
        job_id=job.job_id,
        name=job.name,
        state="accepted",
        sequence=1,
        at=context.now,
        submit=job,
    )


def effects(service: Service) -> dict[str, int]:
    assert service.store is not None
    with service.store.reading() as records:
        return {effect.job_id: effect.times for effect in records.find(EFFECTS)}


def once(names: Iterable[str]) -> dict[str, int]:
    """All of ``names`` took effect, and each of them once."""
    return dict.fromkeys(names, 1)


def unready(service: Service) -> dict[str, str]:
    """Return what ``/readyz`` says is wrong."""
    answer = httpx.get(f"http://127.0.0.1:{service.health_port}/readyz", timeout=60)
    wrong: dict[str, str] = answer.json()["wrong"]
    assert answer.status_code == (503 if wrong else 200)
    return wrong


def await_effects(service: Service, names: Iterable[str]) -> None:
    eventually(lambda: set(names) <= set(effects(service)), "all of the effects")


def await_word(service: Service, part: str, reason: str) -> None:
    """Wait until ``/readyz`` says that this part is not ready, for this reason."""
    eventually(lambda: reason in unready(service).get(part, ""), f"word of {part}")


def await_ready(service: Service) -> None:
    eventually(lambda: not unready(service), "readiness")


class Platform:
    """A client and a task service that count effects in a database."""

    def __init__(self, broker: BrokerUnderTest, client_db: Path, *task_dbs: Path) -> None:
        self._broker = broker
        self.client = Service(
            "client",
            self._settings("client"),
            handlers={JobAccepted: _on_accepted},
            store=Store(f"sqlite:///{client_db}"),
        )
        self.tasks = [
            Service(
                "task",
                self._settings("task"),
                handlers={JobSubmit: _on_submit},
                store=Store(f"sqlite:///{path}"),
            )
            for path in task_dbs
        ]

    @property
    def task(self) -> Service:
        return self.tasks[0]

    def _settings(self, user: str) -> ServiceSettings:
        return ServiceSettings(broker_url=SecretStr(self._broker.url(user)))

    def __enter__(self) -> Self:
        for service in (self.client, *self.tasks):
            service.start()
        for service in (self.client, *self.tasks):
            service.bus.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for service in (self.client, *self.tasks):
            service.stop()

    def has_done_once(self, names: Sequence[str]) -> None:
        """Wait until each of ``names`` was handled by both, and look that nothing was twice."""
        for service in (self.task, self.client):
            await_effects(service, names)
            assert effects(service) == once(names)
        assert self.dead() == 0

    def dead(self) -> int:
        """Return how many messages were dead-lettered."""
        name = "task.jobs.dead"
        answer = httpx.get(f"{self._broker.admin_url}/api/queues/%2F/{name}", timeout=60)
        return int(answer.raise_for_status().json().get("messages", 0))


@pytest.fixture
def platform(broker: BrokerUnderTest, tmp_path: Path) -> Iterator[Platform]:
    with Platform(broker, tmp_path / "client.db", tmp_path / "task.db") as running:
        yield running


_MEMORY = (
    ("set_vm_memory_high_watermark", "absolute", "1"),
    ("set_vm_memory_high_watermark", "absolute", "2GB"),
)
_DISK = (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "200MB"))


@pytest.mark.parametrize(
    ("alarm", "end", "reason"), [(*_MEMORY, "memory"), (*_DISK, "disk")], ids=["memory", "disk"]
)
def test_nothing_is_lost_or_doubled_while_the_broker_takes_no_messages(
    platform: Platform,
    broker: BrokerUnderTest,
    alarm: Sequence[str],
    end: Sequence[str],
    reason: str,
) -> None:
    sent = [f"sent-{number}" for number in range(20)]
    decided = [f"decided-{number}" for number in range(20)]
    task, client = platform.task, platform.client
    with ThreadPoolExecutor(2) as pool:
        broker.control(*alarm)
        try:
            # The first message of a connection is still taken, and tells it of the alarm.
            work = [pool.submit(_publish_each, client, sent), pool.submit(_decide, task, decided)]
            for service in (client, task):
                await_word(service, "publishing", reason)
            await_effects(task, decided)
            assert task.store is not None
            assert task.store.unsent_count() > 0, "what follows from it waits in the outbox"
        finally:
            broker.control(*end)
        for each in work:
            each.result()
    platform.has_done_once(sorted(sent + decided))
    for service in (client, task):
        await_ready(service)
    eventually(lambda: task.store is not None and task.store.unsent_count() == 0, "empty outbox")


def _publish_each(client: Service, names: Sequence[str]) -> None:
    for name in names:
        client.bus.publish([submit(name)], timeout_s=600)


def _decide(task: Service, names: Sequence[str]) -> None:
    """What periodic work does: records and messages in one transaction."""
    with task.unit() as unit:
        context = task.context(unit.records)
        for name in names:
            _count(name, context)
            unit.emit(accepted(submit(name), context))


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(bytes(shutil.disk_usage(path).free))
    assert shutil.disk_usage(path).free == 0


def test_messages_wait_while_the_disk_of_the_database_is_full(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    names: list[str] = []
    with (
        small_disk(tmp_path / "disk", "4m") as disk,
        Platform(broker, tmp_path / "client.db", disk / "task.db") as platform,
    ):
        ballast = disk / "ballast"
        _fill(ballast)

        def waits() -> bool:
            # The database's log has room of its own for a while.
            more = [f"patient-{len(names) + number}" for number in range(20)]
            names.extend(more)
            platform.client.bus.publish([submit(name) for name in more])
            return bool(platform.task.bus.outage)

        eventually(waits, "a full database")
        await_word(platform.task, "handling", "full")
        assert platform.dead() == 0
        assert not set(names) <= set(effects(platform.task))
        ballast.unlink()
        platform.has_done_once(sorted(names))
        await_ready(platform.task)


def test_two_services_on_one_database_handle_each_message_once(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    """By mistake, and under one name: both consume, and each sees repetitions of all messages."""
    names = [f"raced-{number}" for number in range(200)]
    shared = tmp_path / "task.db"
    with Platform(broker, tmp_path / "client.db", shared, shared) as platform:
        bus = platform.client.bus
        prepared = [bus.prepare(submit(name)) for name in names]
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(bus.publish_prepared, prepared) for _ in range(4)]:
                done.result()
        platform.has_done_once(sorted(names))
        for task in platform.tasks:
            assert not unready(task)
