r"""The job's state machine: each transition returns the new record and its event.

    accepted -> starting -> running -> succeeded | failed | cancelled
                       \-> retrying -> running

An elastic job keeps running while a worker is replaced.

Pure: the time is an argument. Terminal states never change; transitions outside of ``ALLOWED``
raise.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from services.task.records import (
    JobRecord,
    MemberRecord,
    PendingNote,
    Verdict,
    first_members,
)
from services.task.runtime import Pending
from shared.changes import with_changes
from shared.contracts import (
    FailureClass,
    Isolation,
    JobAccepted,
    JobCancelled,
    JobEvent,
    JobFailed,
    JobPending,
    JobRemoved,
    JobRetrying,
    JobRunning,
    JobStarting,
    JobState,
    JobSubmit,
    JobSucceeded,
)

S = JobState
_ENDS = {S.SUCCEEDED, S.FAILED, S.CANCELLED}
ALLOWED: dict[JobState, frozenset[JobState]] = {
    S.ACCEPTED: frozenset({S.ACCEPTED, S.STARTING, S.FAILED, S.CANCELLED}),
    S.STARTING: frozenset({S.RUNNING, S.RETRYING} | _ENDS),
    S.RUNNING: frozenset({S.RUNNING, S.RETRYING} | _ENDS),
    S.RETRYING: frozenset({S.RUNNING, S.RETRYING} | _ENDS),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}


class TransitionError(Exception):
    """The state machine does not know this transition; a bug, never the user's fault."""


def accept(submit: JobSubmit, now: datetime) -> tuple[JobRecord, JobAccepted]:
    """A new job."""
    record = JobRecord(
        job_id=submit.job_id,
        submit=submit,
        state=S.ACCEPTED,
        sequence=1,
        created_at=now,
        since=now,
        members=first_members(submit),
    )
    return record, announced(record)


def announced(record: JobRecord) -> JobAccepted:
    """The event of its acceptance, the same however often it is published."""
    return JobAccepted(
        job_id=record.job_id,
        name=record.submit.name,
        state=S.ACCEPTED,
        sequence=1,
        reason="valid and recorded",
        at=record.created_at,
        submit=record.submit,
    )


def wait(record: JobRecord, reason: str, now: datetime) -> tuple[JobRecord, JobAccepted]:
    """The job must wait, for this reason."""
    record = _to(record, S.ACCEPTED, record.since, waiting=reason)
    return record, JobAccepted(**_event(record, reason, now), submit=record.submit)


def start(record: JobRecord, now: datetime) -> tuple[JobRecord, JobStarting]:
    """The job's members are to be started."""
    record = _to(record, S.STARTING, now, waiting="")
    count = len(record.members)
    reason = f"starting {count} member{'s' * (count != 1)}"
    return record, JobStarting(**_event(record, reason, now), attempt=record.attempt)


def pend(record: JobRecord, found: Pending, now: datetime) -> tuple[JobRecord, JobPending]:
    """The job cannot proceed yet, for the reason that matters most."""
    note = PendingNote(cause=found.cause, reason=found.reason, at=now)
    record = with_changes(record, pending=note, sequence=record.sequence + 1)
    return record, JobPending(
        **_event(record, found.reason, now),
        cause=found.cause,
        advice=found.advice,
        members=found.members,
    )


def run(record: JobRecord, now: datetime) -> tuple[JobRecord, JobRunning]:
    """Every member runs the program."""
    return _running(_to(record, S.RUNNING, now, pending=None), now)


def _running(record: JobRecord, now: datetime) -> tuple[JobRecord, JobRunning]:
    notes = dict.fromkeys(note for m in record.members.values() for note in m.notes)
    return record, JobRunning(
        **_event(record, "every member runs", now),
        attempt=record.attempt,
        isolation=Isolation(notes=tuple(notes)),
    )


def retry(
    record: JobRecord, lost: MemberRecord, failure: FailureClass, reason: str, now: datetime
) -> tuple[JobRecord, JobRetrying]:
    """Replace ``lost`` and every other member that has ended: nobody trains alone."""
    members = {
        name: m.replaced() if m.phase == "exited" or name == lost.name else m
        for name, m in record.members.items()
    }
    epochs = [record.epoch, *(m.epoch for m in record.members.values())]
    record = _to(
        record,
        S.RETRYING,
        now,
        attempt=record.attempt + 1,
        retries=record.retries | {failure: record.retries.get(failure, 0) + 1},
        members=members,
        least_epoch=0 if record.submit.type == "single" else max(epochs) + 1,
        suspect=None,
    )
    event = JobRetrying(
        **_event(record, reason, now),
        attempt=record.attempt,
        failure_class=failure,
        member=lost.name,
    )
    return record, event


def rejoin(
    record: JobRecord, lost: MemberRecord, failure: FailureClass, reason: str, now: datetime
) -> tuple[JobRecord, JobRetrying]:
    """Replace ``lost`` alone, while the others go on without it.

    Workers that had run and were taken away come and go; what never ran, or crashed, is counted.
    """
    counted = failure is FailureClass.UNKNOWN or not lost.has_run
    more = {failure: record.retries.get(failure, 0) + 1} if counted else {}
    record = _to(
        record.with_member(lost.replaced()),
        S.RUNNING,
        record.since,
        retries=record.retries | more,
        suspect=None,
    )
    event = JobRetrying(
        **_event(record, f"{reason}; it is replaced while the others go on", now),
        attempt=record.attempt,
        failure_class=failure,
        member=lost.name,
    )
    return record, event


def whole_again(record: JobRecord, now: datetime) -> tuple[JobRecord, JobRunning]:
    """The replaced workers of an elastic job have joined the others."""
    return _running(_to(record, S.RUNNING, record.since), now)


def moved(record: JobRecord, step: timedelta) -> JobRecord:
    """The same job after the clock was set by so much: what it waits for moves with the clock."""
    suspect = record.suspect and with_changes(record.suspect, at=record.suspect.at + step)
    return with_changes(record, since=record.since + step, suspect=suspect)


def finish(record: JobRecord, verdict: Verdict, now: datetime) -> tuple[JobRecord, JobEvent]:
    """The one and only end."""
    # A job that was never started left nothing to remove; thousands may end like that.
    untouched = record.state is S.ACCEPTED
    ended = {"verdict": verdict, "ended_at": now, "suspect": None, "cleaned": untouched}
    record = _to(record, verdict.state, now, **ended)
    fields = _event(record, verdict.reason, now)
    artifacts, stored = record.all_artifacts, record.all_stored
    if verdict.state is S.SUCCEEDED:
        return record, JobSucceeded(**fields, artifacts=artifacts, stored=stored)
    if verdict.state is S.CANCELLED:
        return record, JobCancelled(**fields, artifacts=artifacts, stored=stored)
    return record, JobFailed(
        **fields,
        failure_class=verdict.failure_class or FailureClass.UNKNOWN,
        member=verdict.member,
        exit_code=verdict.exit_code,
        last_lines=verdict.last_lines,
        artifacts=artifacts,
        stored=stored,
    )


def removed(record: JobRecord, reason: str, now: datetime) -> JobRemoved:
    """The removal of an ended job, whose state does not change."""
    return JobRemoved(**_event(record, reason, now) | {"sequence": record.sequence + 1})


def _to(record: JobRecord, state: JobState, since: datetime, **changes: object) -> JobRecord:
    if state not in ALLOWED[record.state]:
        raise TransitionError(f"{record.job_id}: {record.state} -> {state}")
    update = {"state": state, "since": since, "sequence": record.sequence + 1, **changes}
    return with_changes(record, **update)


def _event(record: JobRecord, reason: str, now: datetime) -> dict[str, object]:
    return {
        "job_id": record.job_id,
        "name": record.submit.name,
        "state": record.state,
        "sequence": record.sequence,
        "reason": reason,
        "at": now,
    }
