"""The rig of `bench.cluster`: everything that runs, what was seen of it, what it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psutil

from services.task.records import JOBS, JobRecord
from services.task.runtimes.kubernetes import manifests, names
from services.task.runtimes.kubernetes.manifests import Template
from shared.cluster import Cluster, Object, path_of
from shared.contracts import JobSubmit, Member, PodExited, Role
from shared.embedded.broker import EmbeddedBroker
from shared.embedded.object_store import EmbeddedObjectStore
from shared.messaging import Bus
from shared.store import Store
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.cluster.launchers import FakeLaunchers
from tests.cluster.plane import ControlPlane
from tests.cluster.programs import private_network
from tests.cluster.task_process import TaskProcess
from tests.cluster.watched import Created, JobEvents
from tests.conftest import ObjectStoreUnderTest

_TICK_S = 0.1
_CHUNK = 500
_NAMES = {"beam.smp": "rabbitmq", "weed": "object store"}


class Spent(dict[str, float]):
    """Seconds of CPU by program."""

    def __sub__(self, before: Spent) -> Spent:
        return Spent({name: s - before.get(name, 0.0) for name, s in self.items()})


class Rig:
    """Everything that runs, and what was seen of it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.broker = EmbeddedBroker(folder / "broker")
        self.broker.start()
        stack.callback(self.broker.stop)
        store = EmbeddedObjectStore(folder / "store")
        store.start()
        stack.callback(store.stop)
        plane = ControlPlane(folder / "plane", private_network())
        plane.start()
        stack.callback(plane.stop)
        self.kube = Kube(plane.kubeconfig, folder / "plane", plane)
        self.nodes = FakeNodes(self.kube)
        self.nodes.start()
        stack.callback(self.nodes.stop)
        namespace = self.kube.new_namespace()
        known = ObjectStoreUnderTest(store.url, store.access_key, store.secret_key)
        self.task = TaskProcess(self.kube, namespace, self.broker, known, folder)
        self.task.start()
        stack.callback(self.task.kill)
        self.events = JobEvents(self.broker)
        self.events.start()
        stack.callback(self.events.stop)
        self.jobs = Created(self.kube, namespace)
        self.pods = Created(self.kube, namespace, Created.PODS)
        for watch in (self.jobs, self.pods):
            watch.start()
            stack.callback(watch.stop)
        launchers = FakeLaunchers(self.kube, namespace, self.broker)
        launchers.start()
        stack.callback(launchers.stop)
        self._member = Bus(self.broker.url("member"), "member", "bench", word="bench")
        self._member.start(consume=False)
        self._member.wait_ready(60)
        stack.callback(self._member.stop)

    def submit(self, ids: Sequence[str], rate: float, **fields: object) -> dict[str, float]:
        """Hand over jobs, ``rate`` a second; when each was."""

        def hand(part: Sequence[str]) -> None:
            self.events.publish(job(job_id, **fields) for job_id in part)

        return paced(ids, rate, hand)

    def end(self, ids: Iterable[str]) -> None:
        """Publish what the jobs' launchers would when the programs have ended well."""
        member, now = Member(role=Role.WORKER, index=0, incarnation=1), datetime.now(UTC)
        exits = [PodExited(job_id=each, member=member, exit_code=0, at=now) for each in ids]
        for first in range(0, len(exits), _CHUNK):
            self._member.publish(exits[first : first + _CHUNK], timeout_s=120)

    def restart(self, history: Iterable[JobRecord]) -> None:
        """The task service again, with these jobs in its history."""
        self.task.stop()
        store = Store(self.task.database)
        with store.transaction() as records:
            records.put_all(JOBS, list(history))
        store.close()
        self.task.start()

    def forget(self) -> None:
        """Stop the task service and empty its database."""
        self.task.stop()
        for path in self.task.directory.glob("task.db*"):
            path.unlink()

    def cpu(self) -> Spent:
        """Seconds of CPU each program has taken so far; ``bench`` is the measuring itself."""
        spent = Spent()
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            try:
                name, times = process.name(), process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            named = {own.pid: "bench", self.task.pid: "task"}.get(process.pid)
            name = named or _NAMES.get(name, name)
            spent[name] = spent.get(name, 0.0) + times.user + times.system
        return spent

    def task_rss_mib(self) -> float:
        """Memory the task service has now."""
        return round(psutil.Process(self.task.pid).memory_info().rss / 2**20, 1)


class Bare:
    """The peer: a loop that makes and deletes the same objects by the same client, and no more.

    What it cannot do, the control plane cannot beside everything else that runs here.
    """

    def __init__(self, kube: Kube, threads: int) -> None:
        self._namespace = kube.new_namespace()
        self._cluster = Cluster(kube.kubeconfig)
        self._template = Template(self._namespace, "bare", "launcher:test", "program:test")
        self._pool = ThreadPoolExecutor(threads)
        self.jobs = Created(kube, self._namespace)
        self.pods = Created(kube, self._namespace, Created.PODS)
        for watch in (self.jobs, self.pods):
            watch.start()

    def submit(self, ids: Sequence[str], rate: float) -> dict[str, float]:
        """Make the objects of these jobs, ``rate`` a second; when each was handed over."""

        def hand(part: Sequence[str]) -> None:
            for job_id in part:
                self._pool.submit(self._make, job(job_id))

        return paced(ids, rate, hand)

    def end(self, ids: Iterable[str]) -> None:
        """Delete the objects of these jobs, as the task service does."""
        for job_id in ids:
            self._pool.submit(self._delete, job_id)

    def stop(self) -> None:
        """Watch no more; what is left is nobody's."""
        self._pool.shutdown()
        for watch in (self.jobs, self.pods):
            watch.stop()
        self._cluster.close()

    def _make(self, submit: JobSubmit) -> None:
        secret = manifests.secret(self._template, submit, submit.model_dump_json())
        made: Object = self._cluster.create(path_of("v1", "secrets", self._namespace), secret)
        uid = made["metadata"]["uid"]
        body = manifests.job(self._template, submit, "worker", 1, base=0, owner_uid=uid)
        self._cluster.create(path_of("batch/v1", "jobs", self._namespace), body)

    def _delete(self, job_id: str) -> None:
        name = names.base_name(job_id)
        jobs = path_of("batch/v1", "jobs", self._namespace, f"{name}-worker")
        for path in (jobs, path_of("v1", "secrets", self._namespace, name)):
            self._cluster.delete(path)


def job(job_id: str, **fields: object) -> JobSubmit:
    """A single job."""
    values = {"job_id": job_id, "name": "bench", "package": "bucket:p:a.tar.gz", "main": "m.py"}
    return JobSubmit.model_validate(values | fields)


def paced(
    ids: Sequence[str], rate: float, hand: Callable[[Sequence[str]], None]
) -> dict[str, float]:
    """Hand over ``ids`` in small parts, ``rate`` of them a second; when each was."""
    handed: dict[str, float] = {}
    step = max(1, round(rate * _TICK_S))
    began = time.monotonic()
    for first in range(0, len(ids), step):
        time.sleep(max(0.0, began + first / rate - time.monotonic()))
        part = ids[first : first + step]
        handed |= dict.fromkeys(part, time.monotonic())
        hand(part)
    return handed


def until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.05) -> bool:
    """Return whether the condition came to hold in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
