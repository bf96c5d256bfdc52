"""Which jobs a pass looks at, and what it tells; the runtime says what a test says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from services.task import reconcile, states
from services.task.reconcile import Reconciler
from services.task.records import JOBS, JobRecord, MemberRecord, Verdict
from services.task.runtime import Observed, Pending, RuntimeUnavailable
from services.task.runtimes.kubernetes.pending import given_back
from services.task.settings import TaskSettings
from shared.contracts import JobPending, JobState, JobSubmit, Member, Message, PendingCause, Role
from shared.service import Context
from shared.storage import MemoryStore
from shared.store import Store

NOW = datetime(2024, 1, 1, tzinfo=UTC)
WORKER = Member(role=Role.WORKER, index=0, incarnation=1)


class Told:
    """A runtime that is told of changes, as an API server's watch tells."""

    def __init__(self) -> None:
        self.changes: set[str] = set()
        self.alive: set[str] = set()
        self.waits: dict[str, Pending] = {}
        self.looked_at: list[str] = []
        self.away = False

    def changed(self) -> set[str]:
        changes, self.changes = self.changes, set()
        return changes

    def observe(self, job_ids: Collection[str] | None = None) -> list[Observed]:
        if self.away:
            raise RuntimeUnavailable("no answer")
        wanted = self.alive if job_ids is None else self.alive & set(job_ids)
        return [Observed(job_id, WORKER, alive=True) for job_id in sorted(wanted)]

    def known(self) -> set[str]:
        return set(self.alive)

    def start(self, submit: JobSubmit, _members: Sequence[Member]) -> None:
        self.looked_at.append(submit.job_id)

    def pending(self, job_id: str) -> Pending | None:
        return self.waits.get(job_id)

    def stop(self, job_id: str, member: Member, grace_s: float) -> None:
        raise AssertionError

    def end(self, job_id: str, _members: Sequence[Member], _grace_s: float) -> None:
        self.alive.discard(job_id)

    def remove(self, job_id: str) -> bool:
        return job_id not in self.alive

    def close(self) -> None:
        raise AssertionError


class House:
    """A reconciler with its records, and a clock that a test moves."""

    def __init__(self) -> None:
        self.runtime, self.store, self.at = Told(), Store("sqlite://"), 1000.0
        self.told: list[Message] = []
        self._reconciler = Reconciler(
            TaskSettings(s3_bucket="barograph"),
            self.runtime,
            MemoryStore(),
            unit=self._unit,
            context=lambda unit: Context(NOW, "", 1, unit.records),
            clock=lambda: self.at,
        )

    @contextmanager
    def _unit(self) -> Iterator[Any]:
        with self.store.unit() as unit:
            yield Unit(unit.records, self.told)

    def job(self, job_id: str, *, running: bool) -> None:
        """One that has been started, and perhaps runs."""
        values = {"job_id": job_id, "name": "n", "package": "bucket:p:a.tar.gz", "main": "m.py"}
        record, _ = states.accept(JobSubmit.model_validate(values), NOW)
        record, _ = states.start(record, NOW)
        if running:
            members = {
                n: m.model_copy(update={"phase": "running"}) for n, m in record.members.items()
            }
            record, _ = states.run(record.model_copy(update={"members": members}), NOW)
            self.runtime.alive.add(job_id)
        self.put(record)

    def put(self, record: JobRecord) -> None:
        with self.store.transaction() as records:
            records.put(JOBS, record)

    def get(self, job_id: str) -> JobRecord:
        with self.store.transaction() as records:
            record = records.get(JOBS, job_id)
        assert record is not None
        return record

    def run(self, after_s: float = 0.1) -> list[str]:
        """One pass; the jobs it looked at."""
        self.at += after_s
        self.runtime.looked_at.clear()
        self._reconciler.run()
        return sorted(self.runtime.looked_at)


class Unit:
    """A transaction; what is emitted is kept."""

    def __init__(self, records: Any, told: list[Message]) -> None:
        self.records, self._told = records, told

    def emit(self, *messages: Message) -> None:
        self._told += messages


@pytest.fixture
def house() -> House:
    return House()


def test_a_job_that_runs_is_looked_at_when_something_of_it_changes_and_now_and_then(
    house: House,
) -> None:
    for job_id in ("a", "b", "c"):
        house.job(job_id, running=True)
    assert house.run() == ["a", "b", "c"]
    assert house.run() == []
    house.runtime.changes = {"b", "of nobody"}
    assert house.run() == ["b"]
    house.put(house.get("c").model_copy(update={"epoch": 7}))
    assert house.run() == ["c"]
    assert house.run() == []
    assert house.run(after_s=reconcile._ALL_S) == ["a", "b", "c"]


def test_a_job_that_does_not_run_yet_is_looked_at_twice_a_second(house: House) -> None:
    house.job("a", running=False)
    house.job("b", running=True)
    assert house.run() == ["a", "b"]
    assert house.run() == []
    assert house.run(after_s=reconcile._RESTLESS_S) == ["a"]


def test_changes_told_before_a_pass_that_was_broken_off_are_not_lost(house: House) -> None:
    house.job("a", running=True)
    house.run()
    house.runtime.changes, house.runtime.away = {"a"}, True
    assert house.run() == []
    house.runtime.away = False
    assert house.run() == ["a"]


def test_members_of_a_job_nobody_remembers_are_ended_by_the_next_pass(house: House) -> None:
    house.job("a", running=True)
    house.run()
    house.runtime.alive.add("stray")
    house.run()
    assert house.runtime.alive == {"a"}


def test_what_is_left_of_an_ended_job_goes_and_then_it_is_not_looked_at_any_more(
    house: House,
) -> None:
    house.job("a", running=True)
    house.run()
    record, _ = states.finish(
        house.get("a"), Verdict(state=JobState.SUCCEEDED, reason="done", at=NOW), NOW
    )
    house.put(record)
    house.run()
    assert house.runtime.alive == set()
    house.run(after_s=reconcile._RESTLESS_S)
    assert house.get("a").cleaned
    house.run(after_s=reconcile._ALL_S)
    assert house.runtime.looked_at == []


def test_a_job_that_was_cancelled_before_it_started_asks_nothing_of_the_runtime(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.job("a", running=True)
    record, _ = states.accept(house.get("a").submit.model_copy(update={"job_id": "b"}), NOW)
    verdict = Verdict(state=JobState.CANCELLED, reason="cancelled by the user", at=NOW)
    house.put(states.finish(record, verdict, NOW)[0])
    removed = list[str]()
    monkeypatch.setattr(house.runtime, "remove", removed.append)
    house.run(after_s=reconcile._ALL_S)
    assert house.runtime.looked_at == ["a"]
    assert removed == []


def waits(cause: PendingCause, reason: str) -> Pending:
    return Pending(cause=cause, reason=reason, advice="")


def reasons(house: House) -> list[str]:
    return [event.reason for event in house.told if isinstance(event, JobPending)]


def test_a_reason_that_belongs_to_every_start_is_told_when_it_lasts(house: House) -> None:
    house.job("a", running=False)
    house.runtime.waits["a"] = waits(PendingCause.NODE, "node n has not begun with it")
    house.run()
    house.run(after_s=reconcile._RESTLESS_S)
    assert reasons(house) == []
    house.run(after_s=reconcile._PASSING_S)
    assert reasons(house) == ["node n has not begun with it"]


def test_a_reason_no_waiting_heals_is_told_at_once(house: House) -> None:
    house.job("a", running=False)
    house.runtime.waits["a"] = waits(PendingCause.IMAGE, "no such image")
    house.run()
    assert reasons(house) == ["no such image"]


def test_that_a_cluster_gives_back_its_nodes_is_told_though_it_is_over_at_once(
    house: House,
) -> None:
    house.job("a", running=False)
    house.runtime.waits["a"] = given_back()
    house.run()
    assert reasons(house) == [given_back().reason]


def test_more_words_of_the_same_reason_are_told_as_soon_as_they_are_known(house: House) -> None:
    house.job("a", running=False)
    house.runtime.waits["a"] = waits(PendingCause.QUEUE, "waits in Kueue's queue q")
    house.run()
    house.run(after_s=reconcile._PASSING_S)
    more = "waits in Kueue's queue q: insufficient unused quota"
    house.runtime.waits["a"] = waits(PendingCause.QUEUE, more)
    house.run(after_s=reconcile._RESTLESS_S)
    other = "waits in Kueue's queue q: couldn't assign flavors"
    house.runtime.waits["a"] = waits(PendingCause.QUEUE, other)
    house.run(after_s=reconcile._RESTLESS_S)
    assert reasons(house) == ["waits in Kueue's queue q", more]


def test_a_member_of_an_older_version_keeps_the_end_that_its_launcher_reported() -> None:
    old = {"role": "worker", "index": 0, "told": {"exit_code": 3}}
    read = MemberRecord.model_validate(old)
    assert read.reported is not None
    assert read.reported.exit_code == 3
