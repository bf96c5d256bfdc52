"""The task service dies again and again under 200 jobs, at no particular instruction."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.contracts import JobState, JobSubmit, Member, PodExited, Role
from shared.messaging import Bus
from tests.brokers import BrokerUnderTest
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.cluster.launchers import FakeLaunchers
from tests.cluster.task_process import TaskProcess
from tests.cluster.watched import Created, JobEvents
from tests.conftest import ObjectStoreUnderTest
from tests.waiting import eventually

JOBS, BATCH, SEED = 200, 25, 4
# The length of each of the service's lives, once it is ready.
LIFE_S = (0.0, 10.0)
PATIENCE_S = 400.0


@pytest.fixture
def task(
    kube: Kube,
    namespace: str,
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path: Path,
) -> Iterator[TaskProcess]:
    process = TaskProcess(kube, namespace, broker, object_store, tmp_path)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def events(broker: BrokerUnderTest, task: TaskProcess) -> Iterator[JobEvents]:
    client = JobEvents(broker)
    client.start()
    yield client
    client.stop()


@pytest.fixture
def created(kube: Kube, namespace: str) -> Iterator[Created]:
    watch = Created(kube, namespace)
    watch.start()
    yield watch
    watch.stop()


class Ends:
    """Has each job end once it runs: half by their launchers' word, half by their pods' end."""

    def __init__(self, kube: Kube, namespace: str, broker: BrokerUnderTest) -> None:
        self._kube, self._namespace = kube, namespace
        self._bus = Bus(broker.url("member"), "member", "ends", word="ends")
        self._bus.start(consume=False)
        self._bus.wait_ready(30)
        self._given: set[str] = set()

    def give(self, running: list[str]) -> None:
        fresh = set(running) - self._given
        told = {job_id for job_id in fresh if int(job_id.rpartition("-")[2]) % 2}
        if told:
            self._bus.publish([_exited(job_id) for job_id in told], timeout_s=30)
        if fresh - told:
            self._end_pods(fresh - told)
        self._given |= fresh

    def close(self) -> None:
        self._bus.stop(5)

    def _end_pods(self, jobs: set[str]) -> None:
        notes = {"metadata": {"annotations": {"barograph.test/exit-code": "0"}}}
        for pod in self._kube.core.list_namespaced_pod(self._namespace).items:
            if pod.metadata.annotations.get("barograph.io/job-id") in jobs:
                self._kube.core.patch_namespaced_pod(pod.metadata.name, self._namespace, notes)


def _exited(job_id: str) -> PodExited:
    member = Member(role=Role.WORKER, index=0, incarnation=1)
    return PodExited(job_id=job_id, member=member, exit_code=0, at=datetime.now(UTC))


def _submit(number: int) -> JobSubmit:
    return JobSubmit(
        job_id=f"killed-{number}", name="killed", package="barograph:packages:a.tar.gz", main="m.py"
    )


@pytest.fixture
def ends(kube: Kube, namespace: str, broker: BrokerUnderTest) -> Iterator[Ends]:
    launchers = FakeLaunchers(kube, namespace, broker)
    launchers.start()
    giver = Ends(kube, namespace, broker)
    yield giver
    giver.close()
    launchers.stop()


@pytest.mark.timeout(900)
def test_no_job_is_lost_or_run_twice_whenever_the_task_service_dies(
    kube: Kube,
    namespace: str,
    kwok_nodes: FakeNodes,
    task: TaskProcess,
    events: JobEvents,
    created: Created,
    ends: Ends,
) -> None:
    kwok_nodes(2, cpu="500", memory="4Ti", pods=250)
    kills = _play(task, events, ends)
    assert kills > 1
    wanted = {f"killed-{number}" for number in range(JOBS)}
    assert set(events.ended()) == wanted
    # An event may come twice, a second end may not be.
    assert {job_id: len(numbers) for job_id, numbers in events.ends.items()} == dict.fromkeys(
        wanted, 1
    )
    assert {e.state for e in events.all if e.state.terminal} == {JobState.SUCCEEDED}
    assert not created.doubled()
    assert set(created.seen) == wanted
    eventually(lambda: _nothing_left(kube, namespace), "removal of everything", 120)


def _play(task: TaskProcess, events: JobEvents, ends: Ends) -> int:
    """Submit and end all jobs while the service is killed now and then; how often it was."""
    chance = random.Random(SEED)
    submitted = kills = 0
    die_at = time.monotonic() + chance.uniform(*LIFE_S)
    deadline = time.monotonic() + PATIENCE_S
    while len(events.ended()) < JOBS:
        assert time.monotonic() < deadline, f"{len(events.ended())} of {JOBS} have ended"
        if submitted < JOBS and submitted - len(events.ended()) < 3 * BATCH:
            events.publish(_submit(submitted + number) for number in range(BATCH))
            submitted += BATCH
        ends.give(events.having("job.running"))
        if time.monotonic() > die_at:
            task.kill()
            task.start()
            kills += 1
            die_at = time.monotonic() + chance.uniform(*LIFE_S)
        time.sleep(0.1)
    return kills


def _nothing_left(kube: Kube, namespace: str) -> bool:
    lists = (
        kube.batch.list_namespaced_job,
        kube.core.list_namespaced_pod,
        kube.core.list_namespaced_secret,
    )
    return not any(each(namespace).items for each in lists)
