"""Handlers that maintain the read model; late and repeated events change nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.client import job_trace, log_chunks, moments
from services.client.progress import advanced, last_step
from services.client.records import (
    JOBS,
    MEMBERS,
    MOMENTS,
    OF_A_JOB,
    PLANS,
    PROGRESS,
    REFUSED,
    REMOVED,
    USAGE,
    JobView,
    MemberView,
    Pending,
)
from services.client.usage_curve import UsageCurve
from shared import traces
from shared.changes import with_changes
from shared.contracts import (
    ClusterSpecReady,
    JobEvent,
    JobNotifyRefused,
    JobPending,
    JobPlanned,
    JobRemoved,
    JobRetrying,
    JobSubmit,
    LogAppended,
    Member,
    PodExited,
    PodMeasured,
    PodReported,
    PodStarted,
    RequestRefused,
    Stored,
)
from shared.service import Context

_TAKEN_OVER = (
    "attempt",
    "failure_class",
    "member",
    "exit_code",
    "last_lines",
    "artifacts",
    "stored",
)
_LOG_CHUNKS = 20_000
_AT_ONCE = 500


def job_event(event: JobEvent, ctx: Context) -> tuple[()]:
    """Update the job from its latest event."""
    view = ctx.records.get(JOBS, event.job_id) or _unknown(event.job_id, event.name, event.at)
    if view.state == REMOVED:
        return ()
    if moments.keep(moments.of_job(event), ctx) and isinstance(event, JobRetrying):
        number = view.retries.get(event.failure_class, 0) + 1
        view = with_changes(view, retries=view.retries | {event.failure_class: number})
    if event.sequence <= view.sequence:
        submit = view.submit or getattr(event, "submit", None)
        ctx.records.put(JOBS, with_changes(view, submit=submit))
        return ()
    view = with_changes(view, **_news(event, view))
    if isinstance(event, JobRemoved):
        _forget(event.job_id, ctx)
    ctx.records.put(JOBS, view)
    if event.state.terminal and view.state != REMOVED:
        for span in job_trace.spans(view, ctx.records.find(MOMENTS, group=event.job_id)):
            traces.export(span)
    return ()


def _news(event: JobEvent, view: JobView) -> dict[str, Any]:
    """The fields of the job's view that the event changes, with their values."""
    changes: dict[str, Any] = {
        "name": event.name,
        "state": event.state.value,
        "reason": event.reason,
        "sequence": event.sequence,
        "updated_at": event.at,
        "faults": (),
        "pending": _pending(event, view),
    }
    changes |= {name: getattr(event, name) for name in _TAKEN_OVER if hasattr(event, name)}
    isolation = getattr(event, "isolation", None)
    if isolation is not None:
        changes["notes"] = isolation.notes
    if (submit := getattr(event, "submit", None)) is not None:
        changes["submit"] = submit
    if isinstance(event, JobRemoved):
        # Kept for a while without its contents, so that late events do not bring it back.
        changes |= {
            "state": REMOVED,
            "artifacts": (),
            "stored": Stored(),
            "last_lines": (),
            "submit": None,
        }
    return changes


def request_refused(message: RequestRefused, ctx: Context) -> tuple[()]:
    """Store the faults of the refused request."""
    if not message.job_id:
        return ()
    view = ctx.records.get(JOBS, message.job_id)
    reason = "; ".join(f"{f.field}: {f.problem}" if f.field else f.problem for f in message.faults)
    if view is None:
        view = JobView(
            job_id=message.job_id,
            name=message.job_id,
            state=REFUSED,
            sequence=0,
            created_at=message.at,
            updated_at=message.at,
            reason=reason,
        )
    elif view.sequence == 0 and message.request_type == JobSubmit.TYPE:
        view = with_changes(
            view,
            state=REFUSED,
            reason=reason,
            updated_at=message.at,
        )
    ctx.records.put(JOBS, with_changes(view, faults=message.faults))
    return ()


def notify_refused(message: JobNotifyRefused, ctx: Context) -> tuple[()]:
    """Store the recipients that the job may not have notified."""
    view = ctx.records.get(JOBS, message.job_id)
    view = view or _unknown(message.job_id, message.job_id, message.at)
    if view.state != REMOVED:
        ctx.records.put(JOBS, with_changes(view, not_notified=message.faults))
    return ()


def _unknown(job_id: str, name: str, at: datetime) -> JobView:
    """A job without events so far."""
    return JobView(job_id=job_id, name=name, state="", sequence=0, created_at=at, updated_at=at)


def job_planned(message: JobPlanned, ctx: Context) -> tuple[()]:
    """Store the answer to a request made here; answers to others are ignored."""
    asked = ctx.records.get(PLANS, message.request_id)
    if asked is not None:
        ctx.records.put(PLANS, with_changes(asked, answer=message))
    return ()


def pod_reported(message: PodReported, ctx: Context) -> tuple[()]:
    """A member is up and waits for the others, as it reports repeatedly."""
    known = _member(message.job_id, message.member, ctx)
    address = f"{message.host}:{message.port}"
    if known is None or (known.phase != "awaited" and known.address == address):
        return ()
    changes: dict[str, Any] = {"address": address, "pod": message.pod, "node": message.node}
    if known.phase == "awaited":
        changes["phase"] = "reported"
        moments.keep(moments.reported(message), ctx)
    ctx.records.put(MEMBERS, with_changes(known, **changes))
    return ()


def clusterspec_ready(message: ClusterSpecReady, ctx: Context) -> tuple[()]:
    """The cluster is complete."""
    view = ctx.records.get(JOBS, message.job_id)
    if not _removed(view):
        moments.keep(moments.gathered(message, ctx.now), ctx)
    if view is not None and not _removed(view) and message.epoch > view.epoch:
        ctx.records.put(JOBS, with_changes(view, epoch=message.epoch))
    return ()


def pod_started(message: PodStarted, ctx: Context) -> tuple[()]:
    """A member runs the program."""
    known = _member(message.job_id, message.member, ctx)
    if known is None:
        return ()
    moments.keep(moments.started(message), ctx)
    if known.phase != "exited" and message.epoch >= known.epoch:
        changes: dict[str, Any] = {
            "phase": "running",
            "epoch": message.epoch,
            "started_at": message.at,
            "pod": message.pod or known.pod,
            "node": message.node or known.node,
        }
        ctx.records.put(MEMBERS, with_changes(known, **changes))
    return ()


def pod_measured(message: PodMeasured, ctx: Context) -> tuple[()]:
    """Store a member's present use, its peak memory, and both over time."""
    known = _member(message.job_id, message.member, ctx)
    if known is None or (known.measured_at is not None and message.at <= known.measured_at):
        return ()
    changes: dict[str, Any] = {
        "cpu_cores": message.cpu_cores,
        "memory_bytes": message.memory_bytes,
        "memory_peak_bytes": max(message.memory_bytes, known.memory_peak_bytes or 0),
        "measured_at": message.at,
    }
    ctx.records.put(MEMBERS, with_changes(known, **changes))
    name = message.member.name
    curve = ctx.records.get(USAGE, f"{message.job_id}/{name}")
    curve = curve or UsageCurve(job_id=message.job_id, member=name)
    ctx.records.put(USAGE, curve.measured(message.at, message.cpu_cores, message.memory_bytes))
    return ()


def pod_exited(message: PodExited, ctx: Context) -> tuple[()]:
    """A member has ended, and its results are stored."""
    if not _removed(ctx.records.get(JOBS, message.job_id)):
        moments.keep(moments.exited(message), ctx)
    known = _member(message.job_id, message.member, ctx)
    if known is None or known.phase == "exited":
        return ()
    changes: dict[str, Any] = {
        "phase": "exited",
        "exited_at": message.at,
        "exit_code": message.exit_code,
        "oom": message.oom,
        "fault": message.fault,
        "infrastructure": message.infrastructure,
        "last_lines": message.last_lines,
    }
    ctx.records.put(MEMBERS, with_changes(known, **changes))
    return ()


def log_appended(message: LogAppended, ctx: Context, most: int = _LOG_CHUNKS) -> tuple[()]:
    """Store the chunk's object key, and the progress that its text reports.

    Of each job the newest ``most`` chunks are listed; the object store has them all.
    """
    if _removed(ctx.records.get(JOBS, message.job_id)):
        return ()
    if not log_chunks.add(message, most, ctx):
        return ()
    if step := last_step(message.text):
        known = ctx.records.get(PROGRESS, message.job_id)
        new = advanced(known, message.job_id, message.member, step, message.at)
        if new is not None:
            ctx.records.put(PROGRESS, new)
    return ()


def _pending(event: JobEvent, view: JobView) -> Pending | None:
    if not isinstance(event, JobPending):
        return None
    same = view.pending is not None and view.pending.cause is event.cause
    since = view.pending.since if same and view.pending else event.at
    return Pending(cause=event.cause, advice=event.advice, members=event.members, since=since)


def _member(job_id: str, member: Member, ctx: Context) -> MemberView | None:
    """The member's view, new for a new incarnation; None for events of an old one."""
    known = ctx.records.get(MEMBERS, f"{job_id}/{member.name}")
    if known is not None and known.incarnation == member.incarnation:
        return known
    if known is not None and known.incarnation > member.incarnation:
        return None
    if _removed(ctx.records.get(JOBS, job_id)):
        return None
    return MemberView(
        job_id=job_id, role=member.role, index=member.index, incarnation=member.incarnation
    )


def _removed(view: JobView | None) -> bool:
    return view is not None and view.state == REMOVED


def _forget(job_id: str, ctx: Context) -> None:
    for collection in OF_A_JOB:
        while found := ctx.records.find(collection, group=job_id, limit=_AT_ONCE):
            for each in found:
                ctx.records.delete(collection, collection.key(each))
