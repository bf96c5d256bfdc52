"""One function per message: decide and record; the reconciler acts on the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

from services.task import decisions, states
from services.task.clock_watch import NOTICED
from services.task.records import (
    ACTIVE_STATES,
    EARLY_CANCELS,
    JOBS,
    MAX_EARLY_CANCELS,
    PLANS,
    EarlyCancel,
    Exit,
    JobRecord,
    PlanRequest,
    Verdict,
)
from shared.changes import with_changes
from shared.contracts import (
    ClusterSpecReady,
    FailureClass,
    Fault,
    JobCancel,
    JobPlan,
    JobRemove,
    JobState,
    JobSubmit,
    Member,
    Message,
    PodExited,
    PodStarted,
    RendezvousTimedOut,
)
from shared.messaging.errors import Declined
from shared.service import Context


def job_submit(
    faults: Callable[[JobSubmit], tuple[Fault, ...]],
) -> Callable[[JobSubmit, Context], Iterable[Message]]:
    """The handler of submits; ``faults`` returns the reasons to refuse a job."""

    def handle(message: JobSubmit, ctx: Context) -> Iterator[Message]:
        known = ctx.records.get(JOBS, message.job_id)
        if known is not None:
            if known.submit != message:
                problem = "this id belongs to another job already; choose a new one"
                raise Declined(f"job {message.job_id}: {problem}", _one("job_id", problem))
            yield states.announced(known)
            return
        early = ctx.records.get(EARLY_CANCELS, message.job_id)
        if early is not None:
            ctx.records.delete(EARLY_CANCELS, message.job_id)
            if ctx.now < early.until:
                yield from _cancelled_before(message, early, ctx)
                return
        found = faults(message)
        if found:
            summary = "; ".join(f"{f.field}: {f.problem}" for f in found)
            raise Declined(f"job {message.job_id} cannot run: {summary}", found)
        record, event = states.accept(message, ctx.now)
        ctx.records.put(JOBS, record)
        yield event

    return handle


def _cancelled_before(message: JobSubmit, early: EarlyCancel, ctx: Context) -> Iterator[Message]:
    """Accept a job and end it: its cancel has overtaken it."""
    record, event = states.accept(message, ctx.now)
    yield event
    verdict = Verdict(state=JobState.CANCELLED, reason=early.asked.reason, at=ctx.now)
    yield from decisions.finish(record, verdict, ctx)


def job_plan(message: JobPlan, ctx: Context) -> Iterable[Message]:
    """Note the question; ``services.task.planning`` answers, since that may need the cluster."""
    ctx.records.put(PLANS, PlanRequest(asked=message, at=ctx.now))
    return ()


def job_cancel(message: JobCancel, ctx: Context) -> Iterator[Message]:
    """Stop a job; what it has done so far is stored first."""
    record = ctx.records.get(JOBS, message.job_id)
    if record is None:
        _remember(message, ctx)
        return
    if record.state.terminal or record.verdict is not None:
        return
    verdict = Verdict(state=JobState.CANCELLED, reason=message.reason, at=ctx.now)
    record = with_changes(record, verdict=verdict)
    if record.state is JobState.ACCEPTED:
        yield from decisions.finish(record, verdict, ctx)
    else:
        ctx.records.put(JOBS, record)


def _remember(message: JobCancel, ctx: Context) -> None:
    """Keep a cancel for its job, which may come later: its submit may be waiting for a retry."""
    for each in ctx.records.find(EARLY_CANCELS, due_before=ctx.now):
        ctx.records.delete(EARLY_CANCELS, each.asked.job_id)
    excess = sum(ctx.records.count(EARLY_CANCELS).values()) + 1 - MAX_EARLY_CANCELS
    if excess > 0:
        for each in ctx.records.find(EARLY_CANCELS, soonest_first=True, limit=excess):
            ctx.records.delete(EARLY_CANCELS, each.asked.job_id)
    ctx.records.put(EARLY_CANCELS, EarlyCancel(asked=message, at=ctx.now))


def job_remove(message: JobRemove, ctx: Context) -> Iterable[Message]:
    """Mark an ended job for removal; the reconciler deletes its stored objects."""
    record = ctx.records.get(JOBS, message.job_id)
    if record is None:
        return ()
    if not record.state.terminal:
        problem = f"the job is {record.state}; cancel it first"
        raise Declined(f"job {message.job_id}: {problem}", _one("job_id", problem))
    ctx.records.put(JOBS, with_changes(record, removing=True))
    return ()


def clusterspec_ready(message: ClusterSpecReady, ctx: Context) -> Iterable[Message]:
    """Remember the newest epoch."""
    record = ctx.records.get(JOBS, message.job_id)
    if record is not None and message.epoch > record.epoch and not record.state.terminal:
        ctx.records.put(JOBS, with_changes(record, epoch=message.epoch))
    return ()


def rendezvous_timed_out(message: RendezvousTimedOut, ctx: Context) -> Iterator[Message]:
    """Fail a job whose cluster did not form in time, naming the missing members."""
    record = _active(ctx, message.job_id)
    if record is None or message.at < record.since:
        return
    if record.state is JobState.RUNNING:
        if record.incomplete:
            yield from decisions.rendezvous(record, ctx)  # the others do not wait for it
        return
    limit = timedelta(seconds=record.submit.timeouts.rendezvous_s)
    if record.waits_for_a_place:
        yield from decisions.rendezvous(record, ctx)  # nobody is there who could report
        return
    if ctx.now - record.since < limit - NOTICED:
        # There is time left: the other service's clock is ahead of ours, or was set.
        yield from decisions.rendezvous(record, ctx)
        return
    verdict = Verdict(
        state=JobState.FAILED,
        reason=f"never reported to the rendezvous: {', '.join(message.missing)}",
        at=ctx.now,
        failure_class=FailureClass.TIMEOUT,
        member=message.missing[0],
    )
    yield from decisions.conclude(record, verdict, ctx)


def pod_started(message: PodStarted, ctx: Context) -> Iterator[Message]:
    """Record that a member runs; the job runs when all members do."""
    record = _active(ctx, message.job_id)
    known = record and record.members.get(message.member.name)
    if not record or not known or not _current(known.member, message.member):
        return
    if known.phase == "exited" or message.epoch < known.epoch:
        return
    changes = {"phase": "running", "epoch": message.epoch, "notes": message.isolation.notes}
    record = record.with_member(with_changes(known, **changes))
    yield from decisions.note_running(record, ctx, joined=known.phase == "wanted")


def pod_exited(message: PodExited, ctx: Context) -> Iterator[Message]:
    """Record a member's end; its results are stored."""
    record = _active(ctx, message.job_id)
    known = record and record.members.get(message.member.name)
    if not record or not known or not _current(known.member, message.member):
        return
    if known.phase == "exited":
        return
    end = Exit(
        exit_code=message.exit_code,
        oom=message.oom,
        fault=message.fault,
        infrastructure=message.infrastructure,
        last_lines=message.last_lines,
    )
    record = record.with_results(known.name, message)
    if not message.witnessed:
        # The runtime knows better how it ended; see the reconciler.
        ctx.records.put(JOBS, record.with_member(with_changes(known, reported=end)))
        return
    yield from decisions.member_ended(record, known, end, ctx)


def _active(ctx: Context, job_id: str) -> JobRecord | None:
    record = ctx.records.get(JOBS, job_id)
    return record if record is not None and record.state in ACTIVE_STATES else None


def _current(known: Member, reported: Member) -> bool:
    return known.incarnation == reported.incarnation


def _one(field: str, problem: str) -> tuple[Fault, ...]:
    return (Fault(field=field, problem=problem),)
