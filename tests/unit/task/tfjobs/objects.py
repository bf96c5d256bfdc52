"""TFJobs for tests, the objects of an API server that only remembers, and the records behind."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from services.task import handlers, states
from services.task.records import JOBS, Exit, JobRecord, Verdict
from services.task.tfjobs.controller import TFJobs
from services.task.tfjobs.records import TFJOBS
from services.task.tfjobs.tfjob import TFJob
from shared.cluster import NotFound, Object
from shared.contracts import Fault, JobState, Message
from shared.service import Context
from shared.storage import MemoryStore
from shared.store import Store

BUCKET = "barograph"
START = datetime(2024, 1, 1, tzinfo=UTC)


def replica(number: int, **container: Any) -> Object:
    ours = {"name": "tensorflow", "image": "train:1", "command": ["python", "/t.py"], **container}
    return {"replicas": number, "template": {"spec": {"containers": [ours]}}}


def tfjob(name: str = "mnist", uid: str = "u-1", **spec: Any) -> Object:
    """A TFJob with a parameter server and two workers, unless ``spec`` says otherwise."""
    specs = {"PS": replica(1), "Worker": replica(2)}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": uid,
            "resourceVersion": "1",
            "creationTimestamp": "2024-01-01T00:00:00Z",
        },
        "spec": {"tfReplicaSpecs": specs} | spec,
    }


class Objects:
    """The TFJobs of namespace ``team``: what was applied, and what was written to them."""

    def __init__(self) -> None:
        self.items: dict[str, Object] = {}
        self.events: list[tuple[str, str]] = []
        self.writes = 0
        self.listed = True

    def apply(self, item: Object) -> None:
        self.items[item["metadata"]["uid"]] = copy.deepcopy(item)

    def found(self) -> dict[str, list[TFJob]]:
        return {"team": [TFJob(item) for item in self.items.values()]} if self.listed else {}

    def write_status(self, job: TFJob, status: Object) -> None:
        if job.uid not in self.items:
            raise NotFound(job.name)
        self.writes += 1
        self.items[job.uid] = self.items[job.uid] | {"status": copy.deepcopy(status)}

    def tell(self, job: TFJob, condition: dict[str, Any]) -> None:
        told = (condition["reason"], condition["message"])
        if told not in self.events:
            self.events.append(told)

    def delete(self, job: TFJob) -> None:
        self.items.pop(job.uid, None)


class Unit:
    """A transaction; what is emitted is kept."""

    def __init__(self, records: Any, told: list[Message]) -> None:
        self.records, self._told = records, told

    def emit(self, *messages: Message) -> None:
        self._told += messages


PROJECTS = {"team-vision": "vision"}
"""The project whose namespace each is."""


class House:
    """A controller with its records; the clock moves a second with each pass."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self.objects, self.store = Objects(), Store("sqlite://")
        self.files = MemoryStore()
        self.told: list[Message] = []
        self.now = START
        self.faults = faults
        self.restart()

    def restart(self) -> None:
        """The same records and objects, and nothing else."""
        submit = handlers.job_submit(lambda _submit: self.faults)
        self._tfjobs = TFJobs(
            self.objects, self.files, BUCKET, self._unit, self._context, submit, PROJECTS
        )

    def run(self, passes: int = 1) -> None:
        for _ in range(passes):
            self.now += timedelta(seconds=1)
            self._tfjobs.run()

    def jobs(self) -> list[JobRecord]:
        with self.store.transaction() as records:
            return records.find(JOBS)

    def job(self) -> JobRecord:
        """The newest job."""
        return self.jobs()[-1]

    def taken(self) -> int:
        """Return how many TFJobs are remembered."""
        with self.store.transaction() as records:
            return len(records.find(TFJOBS))

    def status(self, uid: str = "u-1") -> dict[str, Any]:
        found: dict[str, Any] = self.objects.items[uid].get("status") or {}
        return found

    def holds(self, uid: str = "u-1") -> dict[str, str]:
        """Conditions as type and status, in their order."""
        return {c["type"]: c["status"] for c in self.status(uid).get("conditions", [])}

    # The rest of the service

    def begins(self) -> None:
        """Every member runs."""
        record = self.job()
        if record.state is JobState.ACCEPTED:
            record, _ = states.start(record, self.now)
        members = {
            name: member.model_copy(update={"phase": "running"})
            for name, member in record.members.items()
        }
        record, _ = states.run(record.model_copy(update={"members": members}), self.now)
        self.put(record)

    def ends(self, state: JobState, reason: str = "", **ended: Exit) -> None:
        """The job ends; ``ended`` are members with how they did."""
        record = self.job()
        if record.state is JobState.ACCEPTED:
            record, _ = states.start(record, self.now)
        for name, end in ended.items():
            member = record.members[name.replace("_", "-")]
            changes = {"phase": "exited", "exit": end}
            record = record.with_member(member.model_copy(update=changes))
        bad = next((n.replace("_", "-") for n, end in ended.items() if end.exit_code), "")
        verdict = record.verdict or Verdict(state=state, reason=reason, at=self.now, member=bad)
        record, _ = states.finish(record, verdict, self.now)
        self.put(record.model_copy(update={"cleaned": True}))

    def put(self, record: JobRecord) -> None:
        with self.store.transaction() as records:
            records.put(JOBS, record)

    def remove_job(self) -> None:
        job_id = self.job().job_id
        with self.store.transaction() as records:
            records.delete(JOBS, job_id)

    @contextmanager
    def _unit(self) -> Iterator[Any]:
        with self.store.unit() as unit:
            yield Unit(unit.records, self.told)

    def _context(self, unit: Any) -> Context:
        return Context(self.now, "", 1, unit.records)
