"""The status of a TFJob from its job's records, as the v1 operator would write it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from services.task.records import JobRecord, MemberRecord
from services.task.tfjobs.conditions import News, moment, updated
from services.task.tfjobs.records import TFJobRecord
from services.task.tfjobs.tfjob import KIND, TFJob
from shared.contracts import JobState

Status = dict[str, Any]


def running(tfjob: TFJob, record: TFJobRecord, job: JobRecord, now: datetime) -> Status:
    """The status of a TFJob whose job is under way or has ended."""
    status = _with(tfjob, _news(tfjob, record, job), now)
    status["replicaStatuses"] = _replicas(tfjob, job)
    status["startTime"] = moment(job.created_at)
    if job.state.terminal:
        status["completionTime"] = moment(job.ended_at or now)
    return status


def refused(tfjob: TFJob, faults: Sequence[str], now: datetime) -> Status:
    """The status of a TFJob that cannot be taken over, with every reason."""
    text = f"{KIND} {tfjob.namespace}/{tfjob.name} cannot be run: {'; '.join(faults)}"
    return _ended(tfjob, _said("Failed", "FailedValidation", text), now)


def lost(tfjob: TFJob, now: datetime) -> Status:
    """The status of a TFJob whose job somebody removed before its end was written here."""
    text = f"{KIND} {tfjob.namespace}/{tfjob.name} has failed because its job was removed."
    return _ended(tfjob, _said("Failed", "Failed", text), now)


def suspended(tfjob: TFJob, now: datetime) -> Status:
    """The status of a TFJob that is suspended."""
    text = f"{KIND} {tfjob.name} is suspended."
    news = [_created(tfjob, "")]
    if tfjob.has("Running"):
        news.append(_said("Running", "Suspended", text, holds=False))
    status = _with(tfjob, [*news, _said("Suspended", "Suspended", text)], now)
    status["replicaStatuses"] = _nobody(tfjob)
    status.pop("startTime", None)
    return status


def _ended(tfjob: TFJob, news: News, now: datetime) -> Status:
    ended = {"completionTime": moment(now), "replicaStatuses": _nobody(tfjob)}
    return _with(tfjob, [news], now) | ended


def _nobody(tfjob: TFJob) -> dict[str, Any]:
    """A status without members; CRDs of earlier v1 operators require the field itself."""
    return {kind: {} for kind in tfjob.replica_types(None)}


def _with(tfjob: TFJob, news: Iterable[News], now: datetime) -> Status:
    return tfjob.status | {"conditions": updated(tfjob.conditions, news, now)}


def _said(kind: str, reason: str, text: str, *, holds: bool = True) -> News:
    return News(kind, f"{KIND}{reason}", text, holds)


def _created(tfjob: TFJob, more: str) -> News:
    return _said("Created", "Created", f"{KIND} {tfjob.name} is created{more}.")


def _news(tfjob: TFJob, record: TFJobRecord, job: JobRecord) -> Iterator[News]:
    """The conditions that hold of a submitted job, in the order in which they come to hold."""
    whole = f"{KIND} {tfjob.namespace}/{tfjob.name}"
    yield _created(tfjob, _details(record, job))
    if tfjob.has("Suspended"):
        text = f"{KIND} {tfjob.name} is resumed."
        yield _said("Suspended", "Resumed", text, holds=False)
    why = job.verdict.reason if job.verdict else ""
    if job.state is JobState.RUNNING:
        yield _said("Running", "Running", f"{whole} is running.")
    elif job.state is JobState.RETRYING:
        yield _said("Restarting", "Restarting", f"{whole} is restarting: {_waits(job)}")
    elif job.state is JobState.SUCCEEDED:
        yield _said("Succeeded", "Succeeded", f"{whole} successfully completed.")
    elif job.state.terminal:
        yield _said("Failed", "Failed", f"{whole} has failed because {why}.")


def _details(record: TFJobRecord, job: JobRecord) -> str:
    """The job's id, what it waits for, and the differences from what the TFJob says."""
    parts = [f" as job {job.job_id}"]
    if not job.state.terminal and job.state is not JobState.RUNNING:
        waits = _waits(job)
        parts += [f"and waits: {waits}"] if waits else []
    text = " ".join(parts)
    return f"{text} ({'; '.join(record.notes)})" if record.notes else text


def _waits(job: JobRecord) -> str:
    return job.pending.reason if job.pending else job.waiting


def _replicas(tfjob: TFJob, job: JobRecord) -> dict[str, dict[str, int]]:
    """Members by replica type; a number that is 0 is left out, as v1 leaves it out."""
    found: dict[str, dict[str, int]] = {}
    for kind, role in tfjob.replica_types(job.submit).items():
        members = [m for m in job.members.values() if m.role is role]
        found[kind] = _counted(members, job)
    return found


def _counted(members: Iterable[MemberRecord], job: JobRecord) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for member in members:
        if state := _state(member, job):
            numbers[state] = numbers.get(state, 0) + 1
    return numbers


def _state(member: MemberRecord, job: JobRecord) -> str:
    """As v1 counts: who was still needed when the job succeeded has succeeded with it."""
    ended = member.exit
    if ended is not None and ended.exit_code == 0 and not ended.fault:
        return "succeeded"
    if job.state is JobState.SUCCEEDED:
        return "succeeded"
    if job.state.terminal:
        return "failed" if job.verdict and job.verdict.member == member.name else ""
    if ended is not None:
        return "failed"
    return "active" if member.phase == "running" else ""
