"""Tests of which jobs a pass looks at, and what it tells; the runtime says what a test says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.task import reconcile, states
from services.task.reconcile import Reconciler
from services.task.records import JOBS, JobRecord, MemberRecord, Verdict
from services.task.runtime import Observed, Pending, RuntimeUnavailable
from services.task.runtimes.kubernetes.pending import given_back
from services.task.settings import TaskSettings
from services.task.waiting import PASSING_S
from shared.contracts import (
    FailureClass,
    JobPending,
    JobState,
    JobSubmit,
    Member,
    Message,
    PendingCause,
    Role,
)
from shared.service import Context
from shared.storage import AccessDenied, MemoryStore
from shared.store import Store, StoreUnavailable

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
        self.now = NOW
        self.told: list[Message] = []
        self.outages = 0
        """So many of the next transactions do not become durable."""
        self._reconciler = Reconciler(
            TaskSettings(s3_bucket="barograph"),
            self.runtime,
            MemoryStore(),
            unit=self._unit,
            context=lambda unit: Context(self.now, "", 1, unit.records),
            clock=lambda: self.at,
        )

    @contextmanager
    def _unit(self) -> Iterator[Any]:
        with self.store.unit() as unit:
            yield Unit(unit.records, self.told)
            if self.outages:
                self.outages -= 1
                raise StoreUnavailable("the disk is full")

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


def test_what_nobody_foresaw_of_one_job_stops_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job_id in ("a", "b"):
        house.job(job_id, running=True)
    begin = house.runtime.start

    def start(submit: JobSubmit, members: Sequence[Member]) -> None:
        if submit.job_id == "a":
            raise ValueError("a directory that is none")
        begin(submit, members)

    monkeypatch.setattr(house.runtime, "start", start)
    assert house.run() == ["b"]
    monkeypatch.setattr(house.runtime, "start", begin)
    assert house.run(after_s=reconcile._RESTLESS_S) == ["a"], "it is tried again"


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_takes_no_time_of_a_job_and_gives_it_none(
    house: House, hours: int
) -> None:
    house.job("a", running=False)
    house.run()
    house.now += timedelta(hours=hours, seconds=reconcile._ALL_S)
    house.run(after_s=reconcile._ALL_S)
    assert house.get("a").verdict is None
    limit = house.get("a").submit.timeouts.start_s
    for _ in range(int(limit // 20) - 1):
        house.now += timedelta(seconds=20)
        house.run(after_s=20)
    assert house.get("a").verdict is None
    for _ in range(4):
        house.now += timedelta(seconds=20)
        house.run(after_s=20)
    verdict = house.get("a").verdict
    assert verdict is not None
    assert verdict.failure_class is FailureClass.TIMEOUT


def test_a_clock_step_is_found_again_if_its_transaction_was_undone(house: House) -> None:
    house.job("a", running=False)
    house.run()
    since = house.get("a").since
    house.now += timedelta(hours=1)
    house.outages = 1
    with pytest.raises(StoreUnavailable):
        house.run()
    assert house.get("a").since == since
    house.run()
    assert house.get("a").since - since > timedelta(minutes=59)
    assert house.get("a").verdict is None


def test_a_decision_that_fails_undoes_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job_id in ("a", "b", "c"):
        house.job(job_id, running=False)
        house.runtime.waits[job_id] = waits(PendingCause.IMAGE, f"no image for {job_id}")
    pend = states.pend

    def fails(record: JobRecord, found: Pending, now: datetime) -> Any:
        if record.job_id == "a":
            raise states.TransitionError("a bug")
        return pend(record, found, now)

    monkeypatch.setattr(states, "pend", fails)
    house.run()
    assert reasons(house) == ["no image for b", "no image for c"]


def test_a_job_with_the_id_of_an_earlier_one_has_the_whole_grace_to_be_seen(house: House) -> None:
    house.job("a", running=True)
    house.run()
    house.runtime.alive.clear()
    house.run(after_s=reconcile._ALL_S)
    verdict = Verdict(state=JobState.CANCELLED, reason="cancelled", at=NOW)
    house.put(states.finish(house.get("a"), verdict, NOW)[0])
    house.run()
    assert house.get("a").cleaned
    house.run(after_s=TaskSettings(s3_bucket="barograph").lost_grace_s)
    house.job("a", running=True)
    house.runtime.alive.clear()
    house.run()
    assert house.get("a").state is JobState.RUNNING


def test_what_the_store_does_not_delete_keeps_its_own_job_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = house._reconciler._store
    assert isinstance(objects, MemoryStore)
    objects.ensure_bucket("barograph")
    verdict = Verdict(state=JobState.SUCCEEDED, reason="done", at=NOW)
    for job_id in ("a", "b"):
        house.job(job_id, running=True)
        ended, _ = states.finish(house.get(job_id), verdict, NOW)
        house.put(ended.model_copy(update={"cleaned": True, "removing": True}))
        objects.put("barograph", f"jobs/{job_id}/model/w", b"x")
    house.runtime.alive.clear()
    delete = objects.delete

    def locked(bucket: str, keys: Sequence[str]) -> None:
        if "jobs/a/model/w" in keys:
            raise AccessDenied("the object is locked")
        delete(bucket, keys)

    monkeypatch.setattr(objects, "delete", locked)
    house.run()
    assert [each.key for each in objects.list("barograph", "")] == ["jobs/a/model/w"]
    assert house.get("a").removing


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
    house.run(after_s=PASSING_S)
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
    house.run(after_s=PASSING_S)
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
