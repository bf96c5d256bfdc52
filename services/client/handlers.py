"""One function per message: keep the read model; late and repeated events change nothing."""

from __future__ import annotations

from typing import Any

from services.client.records import CHUNKS, JOBS, REFUSED, REMOVED, JobView, LogChunk
from shared.contracts import JobEvent, JobRemoved, JobSubmit, LogAppended, RequestRefused
from shared.service import Context

_TOLD = ("attempt", "failure_class", "member", "exit_code", "last_lines", "artifacts")
_AT_ONCE = 500


def job_event(event: JobEvent, ctx: Context) -> tuple[()]:
    """Show the job as its newest event says."""
    known = ctx.records.get(JOBS, event.job_id)
    submit = getattr(event, "submit", None)
    if known is not None and event.sequence <= known.sequence:
        if known.submit is None and submit is not None:
            ctx.records.put(JOBS, known.model_copy(update={"submit": submit}))
        return ()
    view = known or JobView(
        job_id=event.job_id, name=event.name, state="", sequence=0,
        created_at=event.at, updated_at=event.at,
    )  # fmt: skip
    changes: dict[str, Any] = {
        "name": event.name, "state": event.state.value, "reason": event.reason,
        "sequence": event.sequence, "updated_at": event.at, "faults": (),
    }  # fmt: skip
    changes |= {name: getattr(event, name) for name in _TOLD if hasattr(event, name)}
    isolation = getattr(event, "isolation", None)
    if isolation is not None:
        changes["notes"] = isolation.notes
    if submit is not None:
        changes["submit"] = submit
    if isinstance(event, JobRemoved):
        # Kept for a while without its contents, so that late events do not bring it back.
        changes |= {"state": REMOVED, "artifacts": (), "last_lines": (), "submit": None}
        _forget_log(event.job_id, ctx)
    ctx.records.put(JOBS, view.model_copy(update=changes))
    return ()


def request_refused(message: RequestRefused, ctx: Context) -> tuple[()]:
    """Show what was wrong with the request."""
    if not message.job_id:
        return ()
    view = ctx.records.get(JOBS, message.job_id)
    reason = "; ".join(f"{f.field}: {f.problem}" if f.field else f.problem for f in message.faults)
    if view is None:
        view = JobView(
            job_id=message.job_id, name=message.job_id, state=REFUSED, sequence=0,
            created_at=message.at, updated_at=message.at, reason=reason,
        )  # fmt: skip
    elif view.sequence == 0 and message.request_type == JobSubmit.TYPE:
        view = view.model_copy(
            update={"state": REFUSED, "reason": reason, "updated_at": message.at}
        )
    ctx.records.put(JOBS, view.model_copy(update={"faults": message.faults}))
    return ()


def log_appended(message: LogAppended, ctx: Context) -> tuple[()]:
    """Note where the chunk lies."""
    view = ctx.records.get(JOBS, message.job_id)
    if view is not None and view.state == REMOVED:
        return ()
    chunk = LogChunk(
        job_id=message.job_id, member=message.member.name,
        incarnation=message.member.incarnation, chunk=message.chunk,
        object_key=message.key, at=message.at,
    )  # fmt: skip
    if ctx.records.get(CHUNKS, chunk.key) is None:
        ctx.records.put(CHUNKS, chunk)
    return ()


def _forget_log(job_id: str, ctx: Context) -> None:
    while chunks := ctx.records.find(CHUNKS, group=job_id, limit=_AT_ONCE):
        for chunk in chunks:
            ctx.records.delete(CHUNKS, chunk.key)
