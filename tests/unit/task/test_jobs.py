"""Validation, the state machine and what members' ends lead to; no server, no process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.task import decisions, handlers, states
from services.task.admission import Capacity, admit
from services.task.failures import classify
from services.task.records import (
    EARLY_CANCEL_KEPT,
    EARLY_CANCELS,
    JOBS,
    Exit,
    JobRecord,
    Verdict,
)
from services.task.runtime import Pending
from services.task.validation import Quotas, faults
from shared.contracts import (
    ClusterSpecReady,
    FailureClass,
    Fault,
    JobCancel,
    JobEvent,
    JobFailed,
    JobRemove,
    JobState,
    JobSubmit,
    Member,
    Message,
    PendingCause,
    PodExited,
    PodStarted,
    RendezvousClose,
    RendezvousOpen,
    RendezvousTimedOut,
    Resources,
    Role,
)
from shared.messaging import Reject
from shared.service import Context
from shared.store import Store
from shared.topology import RETRY_DELAYS_S

NOW = datetime(2024, 1, 1, tzinfo=UTC)
LONGEST_RETRY = timedelta(seconds=sum(RETRY_DELAYS_S) + 60)
QUOTAS = Quotas(cpu=16, memory=2**34, gpu=0, members=8)
STORE = Store("sqlite://")
_ids = itertools.count()


def submit(**fields: Any) -> JobSubmit:
    values = {
        "job_id": f"job{next(_ids)}",
        "name": "digits",
        "package": "barograph:packages:a.tar.gz",
        "main": "train.py",
    }
    return JobSubmit.model_validate(values | fields)


def test_every_fault_of_a_container_is_told_at_once_with_those_of_the_job() -> None:
    mount = {"volume": "data", "path": "/data"}
    source = {"config_map": "settings", "roles": ["worker"]}
    container = {"name": "launcher", "kind": "sidecar", "mounts": [mount] * 2}
    with pytest.raises(ValidationError) as told:
        submit(ps=-1, containers=[container | {"env_from": [source]}])
    problems = {".".join(map(str, each["loc"])): each["msg"] for each in told.value.errors()}
    assert set(problems) == {
        "ps",
        "containers.0.name",
        "containers.0.mounts",
        "containers.0.env_from",
    }
    assert "every pod's own" in problems["containers.0.name"]


def cluster(**fields: Any) -> JobSubmit:
    return submit(type="distribute", chief=True, ps=1, workers=2, **fields)


TABLE: dict[type[Message], Callable[..., Iterable[Message]]] = {
    JobSubmit: handlers.job_submit(lambda submit: faults(submit, QUOTAS)),
    JobCancel: handlers.job_cancel,
    JobRemove: handlers.job_remove,
    ClusterSpecReady: handlers.clusterspec_ready,
    RendezvousTimedOut: handlers.rendezvous_timed_out,
    PodStarted: handlers.pod_started,
    PodExited: handlers.pod_exited,
}


def play(*messages: Message, at: datetime = NOW) -> list[Message]:
    answers: list[Message] = []
    with STORE.transaction() as records:
        for message in messages:
            answers += TABLE[type(message)](message, Context(at, "", 1, records))
    return answers


def job(job_id: str) -> JobRecord:
    with STORE.transaction() as records:
        record = records.get(JOBS, job_id)
    assert record is not None
    return record


def starting(message: JobSubmit) -> str:
    """A job whose members are being started."""
    play(message)
    with STORE.transaction() as records:
        record, _ = states.start(job_of(records, message.job_id), NOW)
        records.put(JOBS, record)
    return message.job_id


def job_of(records: Any, job_id: str) -> JobRecord:
    record = records.get(JOBS, job_id)
    assert isinstance(record, JobRecord)
    return record


def member(name: str, incarnation: int = 1) -> Member:
    role, _, index = name.rpartition("-")
    return Member(role=Role(role), index=int(index), incarnation=incarnation)


def started(job_id: str, name: str, incarnation: int = 1, epoch: int = 0) -> PodStarted:
    return PodStarted(job_id=job_id, member=member(name, incarnation), epoch=epoch, at=NOW)


def exited(job_id: str, name: str, code: int = 0, incarnation: int = 1, **more: Any) -> PodExited:
    return PodExited(
        job_id=job_id, member=member(name, incarnation), exit_code=code, at=NOW, **more
    )


def running_cluster(**fields: Any) -> str:
    job_id = starting(cluster(**fields))
    names = ("chief-0", "ps-0", "worker-0", "worker-1")
    play(*(started(job_id, name, epoch=1) for name in names))
    assert job(job_id).state is JobState.RUNNING
    return job_id


def test_every_fault_is_named_at_once() -> None:
    bad = submit(
        type="distribute",
        workers=20,
        main="train.sh",
        resources=Resources(cpu=2, gpu=1, memory="8Mi"),
        env={"TF_CONFIG": "x", "BAROGRAPH_EPOCH": "1"},
    )
    assert [fault.field for fault in faults(bad, QUOTAS)] == [
        "workers",
        "resources.cpu",
        "resources.gpu",
        "resources.memory",
        "main",
        "env.TF_CONFIG",
        "env.BAROGRAPH_EPOCH",
    ]


@pytest.mark.parametrize(
    ("main", "hint"), [("train.sh", "subprocess.run"), ("a/B.IPYNB", "nbconvert"), ("x.jl", "")]
)
def test_an_impossible_job_is_refused_and_not_recorded(main: str, hint: str) -> None:
    bad = submit(main=main)
    with pytest.raises(Reject, match=rf"main: must name a Python file \(.py\).*{hint}"):
        play(bad)
    with STORE.transaction() as records:
        assert records.get(JOBS, bad.job_id) is None


def test_the_same_submit_again_is_announced_again_and_changes_nothing() -> None:
    message = submit()
    first, second = play(message), play(message, at=NOW + timedelta(hours=1))
    assert first == second
    assert first[0].message_id() == second[0].message_id()


def test_another_job_under_a_used_id_is_refused_and_the_first_stays() -> None:
    message = submit()
    play(message)
    with pytest.raises(Reject, match="belongs to another job"):
        play(message.model_copy(update={"main": "other.py"}))
    assert job(message.job_id).submit == message


def test_a_single_job_goes_from_accepted_to_succeeded_with_growing_sequence() -> None:
    job_id = starting(submit())
    events = play(started(job_id, "worker-0"), exited(job_id, "worker-0"))
    assert [e.TYPE for e in events] == ["job.running", "job.succeeded"]
    assert [e.sequence for e in events if isinstance(e, JobEvent)] == [3, 4]


@pytest.mark.parametrize("state", [s for s in JobState if s.terminal])
def test_a_terminal_state_never_changes(state: JobState) -> None:
    record, _ = states.accept(submit(), NOW)
    record = record.model_copy(update={"state": state})
    with pytest.raises(states.TransitionError):
        states.start(record, NOW)
    with pytest.raises(states.TransitionError):
        states.finish(record, Verdict(state=JobState.FAILED, reason="", at=NOW), NOW)


def test_nothing_a_late_message_says_changes_an_ended_job() -> None:
    job_id = starting(submit())
    play(started(job_id, "worker-0"), exited(job_id, "worker-0"))
    ended = job(job_id)
    late = (exited(job_id, "worker-0", 1), started(job_id, "worker-0"), JobCancel(job_id=job_id))
    assert play(*late) == []
    assert job(job_id) == ended


def test_an_error_of_the_program_is_not_retried() -> None:
    job_id = starting(submit())
    (event,) = play(exited(job_id, "worker-0", 3, last_lines=("ValueError: no",)))
    assert isinstance(event, JobFailed)
    assert (event.failure_class, event.exit_code) == (FailureClass.USER_ERROR, 3)
    assert event.last_lines == ("ValueError: no",)


def test_too_little_memory_is_not_retried_and_names_the_limit() -> None:
    job_id = starting(submit())
    (event,) = play(exited(job_id, "worker-0", -9, oom=True))
    assert isinstance(event, JobFailed)
    assert event.failure_class is FailureClass.OOM
    assert "2048Mi" in event.reason


def test_a_lost_member_is_replaced_until_the_budget_is_spent() -> None:
    job_id = starting(submit(max_retries=2))
    kinds = [
        event.TYPE
        for n in (1, 2, 3)
        for event in play(exited(job_id, "worker-0", -9, incarnation=n))
    ]
    assert kinds == ["job.retrying", "job.retrying", "job.failed"]
    assert "after 2 retries" in job(job_id).verdict.reason


def test_a_cluster_ends_when_its_chief_does_and_the_rest_is_gone() -> None:
    job_id = running_cluster()
    assert play(exited(job_id, "chief-0")) == []
    assert job(job_id).verdict is not None
    others = ("ps-0", "worker-0", "worker-1")
    events = play(*(exited(job_id, name, -15, fault="stopped") for name in others))
    assert [e.TYPE for e in events] == ["job.succeeded", "rendezvous.close"]
    assert isinstance(events[1], RendezvousClose)


def test_a_lost_worker_starts_a_new_attempt_that_waits_for_the_next_epoch() -> None:
    job_id = running_cluster()
    retrying, opened = play(exited(job_id, "worker-1", -9))
    assert (retrying.TYPE, job(job_id).attempt) == ("job.retrying", 2)
    assert isinstance(opened, RendezvousOpen)
    old = [started(job_id, n, epoch=1) for n in ("chief-0", "ps-0", "worker-0")]
    assert play(*old, started(job_id, "worker-1", incarnation=2, epoch=2)) == []
    new = [started(job_id, n, epoch=2) for n in ("chief-0", "ps-0", "worker-0")]
    assert [e.TYPE for e in play(*new)] == ["job.running"]


def test_a_lost_worker_of_an_elastic_job_joins_the_epoch_that_runs() -> None:
    job_id = running_cluster(elastic=True)
    retrying, opened = play(exited(job_id, "worker-1", -9))
    assert (retrying.TYPE, retrying.state) == ("job.retrying", JobState.RUNNING)
    assert isinstance(opened, RendezvousOpen)
    assert (opened.incarnations, opened.least_epoch) == ({"worker-1": 2}, 0)
    before = job(job_id)
    assert (before.attempt, before.since, before.state) == (1, NOW, JobState.RUNNING)
    (running,) = play(started(job_id, "worker-1", incarnation=2, epoch=1))
    assert running.TYPE == "job.running"
    # Its program's restarts by itself are no news.
    assert play(started(job_id, "worker-1", incarnation=2, epoch=1)) == []
    assert job(job_id).since == NOW


def test_workers_of_an_elastic_job_come_and_go_without_end_but_not_those_that_never_ran() -> None:
    job_id = running_cluster(elastic=True, max_retries=1)
    for number in range(1, 20):
        play(exited(job_id, "worker-1", -9, incarnation=number))
        play(started(job_id, "worker-1", incarnation=number + 1, epoch=1))
    assert job(job_id).retries == {}
    for number in (20, 21, 22):
        play(exited(job_id, "worker-1", -9, incarnation=number))
    verdict = job(job_id).verdict
    assert verdict is not None
    assert "after 1 retries" in verdict.reason


@pytest.mark.parametrize("name", ["chief-0", "ps-0"])
def test_nobody_but_a_worker_comes_back_to_a_running_cluster(name: str) -> None:
    job_id = running_cluster(elastic=True)
    retrying, opened = play(exited(job_id, name, -9))
    assert isinstance(opened, RendezvousOpen)
    assert (retrying.state, opened.least_epoch) == (JobState.RETRYING, 2)
    # A worker that is lost now waits with all others.
    play(exited(job_id, "worker-0", -9))
    assert (job(job_id).state, job(job_id).least_epoch) == (JobState.RETRYING, 2)


def test_a_chief_that_cannot_do_without_a_lost_worker_begins_again_with_all() -> None:
    job_id = running_cluster(elastic=True)
    play(exited(job_id, "worker-1", -9))
    (retrying, _) = play(exited(job_id, "chief-0", 1))
    assert retrying.state is JobState.RETRYING
    assert job(job_id).least_epoch == 2
    assert job(job_id).retries == {FailureClass.INFRASTRUCTURE: 1}


def test_an_error_of_an_elastic_worker_is_its_programs_while_another_is_away() -> None:
    job_id = running_cluster(elastic=True)
    play(exited(job_id, "worker-1", -9))
    play(exited(job_id, "worker-0", 1))
    suspect = job(job_id).suspect
    assert suspect is not None
    assert suspect.failure_class is FailureClass.USER_ERROR


def test_a_worker_that_is_away_for_long_is_awaited_for_as_long_as_the_others_run() -> None:
    job_id = running_cluster(elastic=True)
    play(exited(job_id, "worker-1", -9))
    late = NOW + timedelta(days=1)
    (again,) = play(RendezvousTimedOut(job_id=job_id, missing=("worker-1",), at=late), at=late)
    assert isinstance(again, RendezvousOpen)
    play(started(job_id, "worker-1", incarnation=2, epoch=1))
    assert play(RendezvousTimedOut(job_id=job_id, missing=("worker-1",), at=late), at=late) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"chief": False}, "needs a chief and ps"),
        ({"ps": 0}, "needs a chief and ps"),
        ({"type": "single", "chief": False, "ps": 0, "workers": 0}, "needs a chief and ps"),
        ({"success_policy": "all_workers"}, "the chief's success ends the job"),
        ({"host_network": True}, "the node's network"),
    ],
)
def test_what_cannot_take_a_worker_back_is_no_elastic_job(fields: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        submit(
            **{"type": "distribute", "chief": True, "ps": 1, "workers": 2, **fields}, elastic=True
        )


def test_members_that_fall_with_a_lost_one_are_replaced_and_not_blamed() -> None:
    job_id = running_cluster()
    assert play(exited(job_id, "chief-0", 1)) == []  # its peer's loss shows up later
    play(exited(job_id, "worker-1", -9))
    play(exited(job_id, "worker-0", 1))
    record = job(job_id)
    assert record.state is JobState.RETRYING
    numbers = {name: m.incarnation for name, m in record.members.items()}
    assert numbers == {"chief-0": 2, "ps-0": 1, "worker-0": 2, "worker-1": 2}


def test_a_failure_without_a_lost_peer_is_the_programs_own() -> None:
    job_id = running_cluster()
    play(exited(job_id, "worker-1", 1))
    record = job(job_id)
    assert record.suspect is not None
    with STORE.transaction() as records:
        list(decisions.retry_or_fail(record, record.suspect, Context(NOW, "", 1, records)))
    verdict = job(job_id).verdict
    assert verdict is not None
    assert verdict.failure_class is FailureClass.USER_ERROR


def test_what_a_replaced_incarnation_says_is_ignored() -> None:
    job_id = running_cluster()
    play(exited(job_id, "worker-1", -9))
    before = job(job_id)
    assert play(exited(job_id, "worker-1", 0, incarnation=1)) == []
    assert job(job_id) == before


def test_a_rendezvous_time_out_names_the_missing() -> None:
    job_id = starting(cluster())
    late = NOW + timedelta(seconds=job(job_id).submit.timeouts.rendezvous_s)
    missed = RendezvousTimedOut(job_id=job_id, missing=("ps-0", "worker-1"), at=late)
    play(missed, at=late)
    verdict = job(job_id).verdict
    assert verdict is not None
    assert "ps-0, worker-1" in verdict.reason


PLACES = ("queue", "gang", "unschedulable", "quota")


def waiting(job_id: str, cause: str | None, at: datetime) -> None:
    """Note, or take back, why a job does not start."""
    found = cause and Pending(PendingCause(cause), "the rest has no room", "wait")
    with STORE.transaction() as records:
        ctx = Context(at, "", 1, records)
        list(decisions.note_pending(job_of(records, job_id), found or None, ctx))


def verdict_at(job_id: str, at: datetime) -> Verdict | None:
    with STORE.transaction() as records:
        return decisions.timed_out(job_of(records, job_id), Context(at, "", 1, records))


@pytest.mark.parametrize("cause", PLACES)
def test_a_job_waits_for_a_place_without_end_and_has_its_time_to_start_afterwards(
    cause: str,
) -> None:
    job_id = starting(cluster())
    waiting(job_id, cause, NOW)
    week = NOW + timedelta(days=7)
    assert verdict_at(job_id, week) is None
    (again,) = play(RendezvousTimedOut(job_id=job_id, missing=("ps-0",), at=week), at=week)
    assert isinstance(again, RendezvousOpen)
    waiting(job_id, None, week)
    limits = job(job_id).submit.timeouts
    missed = RendezvousTimedOut(job_id=job_id, missing=("ps-0",), at=week + timedelta(seconds=20))
    play(missed, at=week + timedelta(seconds=20))
    assert job(job_id).verdict is None
    assert verdict_at(job_id, week + timedelta(seconds=limits.start_s)) is None
    late = verdict_at(job_id, week + timedelta(seconds=limits.start_s + 1))
    assert late is not None
    assert late.reason.startswith("not running 600 s after the start: ")


def test_a_wait_for_a_place_is_as_long_as_the_job_says() -> None:
    job_id = starting(cluster(timeouts={"wait_s": 3600}))
    waiting(job_id, "gang", NOW)
    waiting(job_id, "queue", NOW + timedelta(seconds=1800))
    assert verdict_at(job_id, NOW + timedelta(seconds=3600)) is None
    late = verdict_at(job_id, NOW + timedelta(seconds=3601))
    assert late is not None
    assert late.reason == "no place was found for it in 3600 s: the rest has no room"
    assert late.failure_class is FailureClass.TIMEOUT


@pytest.mark.parametrize("cause", sorted({*PendingCause} - {*PLACES}))
def test_what_no_other_job_takes_away_has_the_time_of_a_start(cause: str) -> None:
    job_id = starting(cluster())
    waiting(job_id, cause, NOW + timedelta(seconds=30))
    assert verdict_at(job_id, NOW + timedelta(seconds=601)) is not None


def test_a_rendezvous_whose_clock_is_ahead_of_ours_is_opened_again() -> None:
    job_id = starting(cluster())
    hour_ahead = NOW + timedelta(hours=1)
    missed = RendezvousTimedOut(job_id=job_id, missing=("ps-0",), at=hour_ahead)
    soon = NOW + timedelta(seconds=5)
    (again,) = play(missed, at=soon)
    assert isinstance(again, RendezvousOpen)
    seconds = job(job_id).submit.timeouts.rendezvous_s
    assert again.deadline == soon + timedelta(seconds=seconds)
    assert job(job_id).verdict is None


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_when_it_is_gone() -> None:
    waiting = submit()
    play(waiting)
    assert [e.TYPE for e in play(JobCancel(job_id=waiting.job_id))] == ["job.cancelled"]
    job_id = starting(submit())
    assert play(JobCancel(job_id=job_id)) == []
    (event,) = play(exited(job_id, "worker-0", -15, fault="stopped"))
    assert event.TYPE == "job.cancelled"


def test_of_a_job_that_never_started_there_is_nothing_to_clean_and_of_any_other_there_may_be() -> (
    None
):
    waiting = submit()
    play(waiting, JobCancel(job_id=waiting.job_id))
    assert job(waiting.job_id).cleaned
    job_id = starting(submit())
    play(JobCancel(job_id=job_id), exited(job_id, "worker-0", -15, fault="stopped"))
    assert job(job_id).state is JobState.CANCELLED
    assert not job(job_id).cleaned


def test_a_running_job_cannot_be_removed() -> None:
    job_id = starting(submit())
    with pytest.raises(Reject, match="cancel it first"):
        play(JobRemove(job_id=job_id))


def test_cancel_and_remove_of_unknown_jobs_are_harmless() -> None:
    assert play(JobCancel(job_id="nobody"), JobRemove(job_id="nobody")) == []


def test_a_job_whose_cancel_came_first_ends_as_cancelled_and_never_starts() -> None:
    for late in (submit(), cluster()):
        assert play(JobCancel(job_id=late.job_id, reason="no longer needed")) == []
        accepted, cancelled, *_ = play(late, at=NOW + LONGEST_RETRY)
        assert (accepted.TYPE, cancelled.TYPE) == ("job.accepted", "job.cancelled")
        assert isinstance(cancelled, JobEvent)
        assert (cancelled.sequence, cancelled.reason) == (2, "no longer needed")
        record = job(late.job_id)
        assert (record.state, record.cleaned) == (JobState.CANCELLED, True)
        again = play(late, JobCancel(job_id=late.job_id), at=NOW + LONGEST_RETRY)
        assert [event.TYPE for event in again] == ["job.accepted"]
        assert job(late.job_id) == record


def test_a_submit_that_cannot_be_examined_is_cancelled_all_the_same() -> None:
    def fails(_submit: JobSubmit) -> tuple[Fault, ...]:
        raise LookupError("the cluster does not answer")

    late = submit()
    play(JobCancel(job_id=late.job_id))
    with STORE.transaction() as records:
        events = list(handlers.job_submit(fails)(late, Context(NOW, "", 1, records)))
    assert [event.TYPE for event in events] == ["job.accepted", "job.cancelled"]


def test_an_old_cancel_means_no_job_that_is_submitted_long_after() -> None:
    late = submit()
    play(JobCancel(job_id=late.job_id))
    (event,) = play(late, at=NOW + EARLY_CANCEL_KEPT)
    assert event.TYPE == "job.accepted"
    assert job(late.job_id).state is JobState.ACCEPTED


def test_an_early_cancel_is_used_up_by_its_job() -> None:
    late = submit()
    play(JobCancel(job_id=late.job_id), late)
    with STORE.transaction() as records:
        records.delete(JOBS, late.job_id)
    assert [event.TYPE for event in play(late)] == ["job.accepted"]


def test_the_newest_early_cancels_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "MAX_EARLY_CANCELS", 3)
    names = [f"unknown-{n}" for n in range(5)]
    for second, name in enumerate(names):
        play(JobCancel(job_id=name), at=NOW + timedelta(seconds=second))
    assert _early_cancels() == {"unknown-2", "unknown-3", "unknown-4"}
    play(JobCancel(job_id="later"), at=NOW + EARLY_CANCEL_KEPT + timedelta(seconds=3))
    assert _early_cancels() == {"unknown-4", "later"}


def _early_cancels() -> set[str]:
    with STORE.transaction() as records:
        return {found.asked.job_id for found in records.find(EARLY_CANCELS)}


def test_a_phase_that_lasts_too_long_is_the_end_of_the_job() -> None:
    job_id = starting(cluster())
    record = job(job_id)
    context = Context(NOW + timedelta(seconds=601), "", 1)
    verdict = decisions.timed_out(record, context)
    assert verdict is not None
    assert "chief-0, ps-0, worker-0, worker-1" in verdict.reason
    assert decisions.timed_out(record, Context(NOW + timedelta(seconds=599), "", 1)) is None


def test_jobs_start_in_order_and_only_as_a_whole() -> None:
    big, small = (states.accept(m, NOW)[0] for m in (cluster(), submit()))
    total = Capacity(cpu=5, memory=2**40, jobs=1000)
    first, second, third = (why for _, why in admit([small, big, small], [], total))
    assert (first, second) == ("", "")
    assert third.startswith("waits for capacity: needs 1 cores")
    reasons = [why for _, why in admit([big, small], [small, small], total)]
    assert reasons[0].startswith("waits for capacity: needs 4 cores")
    assert reasons[1] == f"waits behind job {big.job_id}"


def test_a_waiting_job_is_told_nothing_of_another_projects_jobs() -> None:
    big, small = (
        states.accept(m, NOW)[0] for m in (cluster(project="vision"), submit(project="speech"))
    )
    reasons = [why for _, why in admit([big, small], [], Capacity(cpu=1, memory=1, jobs=9))]
    assert reasons[1] == "waits behind another job"


def test_an_end_is_classified_by_whose_fault_it_is() -> None:
    ends = {
        Exit(exit_code=1): FailureClass.USER_ERROR,
        Exit(exit_code=-9): FailureClass.INFRASTRUCTURE,
        Exit(exit_code=137): FailureClass.INFRASTRUCTURE,
        Exit(exit_code=-11): FailureClass.UNKNOWN,
        Exit(exit_code=-9, oom=True): FailureClass.OOM,
        Exit(exit_code=1, fault="no main program"): FailureClass.USER_ERROR,
    }
    assert [classify(end) for end in ends] == list(ends.values())
