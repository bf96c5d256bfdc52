"""The consequences of a member's start or end; shared by the handlers and the reconciler.

Pure except for ``ctx.records``: the changed record is stored, the messages are returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from services.task import states
from services.task.failures import classify, describe, may_retry
from services.task.records import (
    JOBS,
    Exit,
    JobRecord,
    MemberRecord,
    PendingNote,
    Verdict,
    deciders,
)
from services.task.runtime import Pending
from shared.changes import with_changes
from shared.contracts import (
    FailureClass,
    JobState,
    Message,
    RendezvousClose,
    RendezvousOpen,
    Role,
)
from shared.service import Context


def note_running(record: JobRecord, ctx: Context, *, joined: bool = False) -> Iterator[Message]:
    """Store a member's start; the job runs when all members do, with the newest spec.

    Args:
        record: the job, with the member that has started.
        ctx: the handler's context.
        joined: whether it started for the first time, perhaps beside others that were running.
    """
    running = all(
        m.phase == "running" and m.epoch >= record.least_epoch for m in record.members.values()
    )
    if running and record.verdict is None:
        if record.state is not JobState.RUNNING:
            record, event = states.run(record, ctx.now)
            yield event
        elif joined:
            record, event = states.whole_again(record, ctx.now)
            yield event
    ctx.records.put(JOBS, record)


_REPEAT = timedelta(seconds=30)
"""The interval after which an unchanged cause is published again with new words."""


def is_news(known: PendingNote | None, found: Pending | None, now: datetime) -> bool:
    """Return whether a reason, or its passing, should be noted."""
    if found is None or known is None:
        return found is not None or known is not None
    if found.cause is not known.cause:
        return True
    if found.reason == known.reason:
        return False
    # Longer words are published at once; others, which may change constantly, at intervals.
    return found.reason.startswith(known.reason) or now - known.at >= _REPEAT


def note_pending(record: JobRecord, found: Pending | None, ctx: Context) -> Iterator[Message]:
    """Publish the reason; that it has passed shows when the job runs."""
    if record.state is JobState.RUNNING or record.verdict is not None:
        return
    waited = record.waits_for_a_place
    if found is None:
        record = with_changes(record, pending=None)
    else:
        record, event = states.pend(record, found, ctx.now)
        yield event
    if waited and not record.waits_for_a_place:
        # Only now its members are up against the limits of a start.
        record = with_changes(record, since=ctx.now)
    ctx.records.put(JOBS, record)


def requeue(record: JobRecord, ctx: Context) -> Iterator[Message]:
    """Members that never ran release their nodes; their next incarnations wait again."""
    if record.verdict is not None or record.state is JobState.RUNNING:
        return
    members = {n: m if m.phase == "running" else m.replaced() for n, m in record.members.items()}
    record = with_changes(record, members=members)
    ctx.records.put(JOBS, record)
    yield from rendezvous(record, ctx)


def member_ended(
    record: JobRecord, member: MemberRecord, end: Exit, ctx: Context
) -> Iterator[Message]:
    """Decide about the job after one member's end."""
    outdated = member.phase == "running" and member.epoch < record.least_epoch
    member = with_changes(member, phase="exited", exit=end)
    record = record.with_member(member)
    if record.verdict is not None:
        yield from _maybe_finish(record, ctx)
    elif end.exit_code == 0 and not end.fault:
        yield from _ended_well(record, ctx)
    elif outdated and not _own_fault(end):
        # It failed together with the member whose loss began this attempt, so replace both.
        record = record.with_member(member.replaced())
        ctx.records.put(JOBS, record)
        yield from rendezvous(record, ctx)
    else:
        yield from _ended_badly(record, member, end, ctx)


def conclude(record: JobRecord, verdict: Verdict, ctx: Context) -> Iterator[Message]:
    """Decide the end; it is published once everything is stored and removed."""
    yield from _maybe_finish(with_changes(record, verdict=verdict), ctx)


def finish(record: JobRecord, verdict: Verdict, ctx: Context) -> Iterator[Message]:
    """Record the terminal state and publish it."""
    record, event = states.finish(record, verdict, ctx.now)
    ctx.records.put(JOBS, record)
    yield event
    if record.submit.type == "distribute":
        yield RendezvousClose(job_id=record.job_id)


def rendezvous(record: JobRecord, ctx: Context) -> Iterator[Message]:
    """Ask autospec to form the cluster, for distributed jobs."""
    if record.submit.type == "distribute":
        roles: dict[Role, int] = {}
        for member in record.members.values():
            roles[member.role] = roles.get(member.role, 0) + 1
        deadline = ctx.now + timedelta(seconds=record.submit.timeouts.rendezvous_s)
        newer = {m.name: m.incarnation for m in record.members.values() if m.incarnation > 1}
        yield RendezvousOpen(
            job_id=record.job_id,
            roles=roles,
            deadline=deadline,
            incarnations=newer,
            least_epoch=record.least_epoch,
        )


def timed_out(record: JobRecord, ctx: Context) -> Verdict | None:
    """The verdict on a job whose present phase has lasted too long."""
    limits = record.submit.timeouts
    running, waiting = record.state is JobState.RUNNING, record.waits_for_a_place
    limit = limits.run_s if running else limits.wait_s if waiting else limits.start_s
    if limit is None or ctx.now - record.since <= timedelta(seconds=limit):
        return None
    idle = [m.name for m in record.members.values() if m.phase != "running"]
    reason = f"not running {limit:g} s after the start: {', '.join(idle)}"
    if running:
        reason = f"ran longer than {limit:g} s"
    elif waiting and record.pending is not None:
        reason = f"no place was found for it in {limit:g} s: {record.pending.reason}"
    return Verdict(
        state=JobState.FAILED, reason=reason, at=ctx.now, failure_class=FailureClass.TIMEOUT
    )


def _ended_well(record: JobRecord, ctx: Context) -> Iterator[Message]:
    wanted = [record.members[name] for name in deciders(record.submit)]
    if all(m.phase == "exited" and m.exit and m.exit.exit_code == 0 for m in wanted):
        names = ", ".join(m.name for m in wanted)
        verdict = Verdict(state=JobState.SUCCEEDED, reason=f"{names} ended well", at=ctx.now)
        yield from conclude(record, verdict, ctx)
    else:
        ctx.records.put(JOBS, record)


def _ended_badly(
    record: JobRecord, member: MemberRecord, end: Exit, ctx: Context
) -> Iterator[Message]:
    failure = classify(end)
    reason = describe(member.name, end, record.submit.resources_of(member.role).memory)
    verdict = Verdict(
        state=JobState.FAILED,
        reason=reason,
        at=ctx.now,
        failure_class=failure,
        member=member.name,
        exit_code=end.exit_code,
        last_lines=end.last_lines,
    )
    alone = record.submit.type == "single"
    lost = failure in _TAKEN
    alone_without = record.incomplete and member.role is not Role.WORKER
    if alone_without and not lost and not _own_fault(end):
        # A program that cannot do without the worker that was lost: all begin again.
        verdict = with_changes(verdict, failure_class=FailureClass.INFRASTRUCTURE)
        yield from retry_or_fail(record, verdict, ctx)
    elif not alone and not lost and not _own_fault(end):
        # TensorFlow's members fail when a peer is lost: wait to see whether one was.
        suspect = record.suspect or verdict
        ctx.records.put(JOBS, with_changes(record, suspect=suspect))
    else:
        yield from retry_or_fail(record, verdict, ctx)


def retry_or_fail(record: JobRecord, verdict: Verdict, ctx: Context) -> Iterator[Message]:
    """Another attempt while the budget lasts, otherwise the end."""
    failure = verdict.failure_class or FailureClass.UNKNOWN
    lost = record.members[verdict.member]
    joins = _joins_again(record, lost, failure)
    if not (joins and lost.has_run and failure in _TAKEN) and not may_retry(record, failure):
        tries = record.retries.get(failure, 0)
        if tries:
            reason = f"{verdict.reason} (after {tries} retries)"
            verdict = with_changes(verdict, reason=reason)
        yield from conclude(record, verdict, ctx)
        return
    replace = states.rejoin if joins else states.retry
    record, event = replace(record, lost, failure, verdict.reason, ctx.now)
    ctx.records.put(JOBS, record)
    yield event
    yield from rendezvous(record, ctx)


def _joins_again(record: JobRecord, lost: MemberRecord, failure: FailureClass) -> bool:
    """Return whether the others can go on without a member until its replacement is there."""
    others = [m for m in record.members.values() if m.role is not Role.WORKER]
    return (
        record.submit.elastic
        and record.state is JobState.RUNNING
        and lost.role is Role.WORKER
        and failure in {*_TAKEN, FailureClass.UNKNOWN}
        and (record.suspect is None or record.suspect.member == lost.name)
        and all(m.phase == "running" and m.epoch >= record.least_epoch for m in others)
    )


_TAKEN = {FailureClass.INFRASTRUCTURE, FailureClass.PREEMPTION}
"""Failures that are nothing the program did: its machine or its place was taken away."""


def _own_fault(end: Exit) -> bool:
    """Return whether the end cannot be another member's doing."""
    return end.oom or bool(end.fault)


def _maybe_finish(record: JobRecord, ctx: Context) -> Iterator[Message]:
    verdict = record.verdict
    if verdict is not None and all(m.phase == "exited" for m in record.members.values()):
        yield from finish(record, verdict, ctx)
    else:
        ctx.records.put(JOBS, record)
