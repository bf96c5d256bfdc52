"""The spans of a job that has ended: the job itself, its phases, its members' programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise

from services.client.records import JobView, Moment
from shared.traces import Span, of_job

_PHASES = {
    "accepted": "waiting",
    "starting": "starting",
    "running": "running",
    "retrying": "replacing members",
}
"""The phase of a job after an event of this kind, until the next."""
_BEGUN, _EXITED = "started", "exited"


def spans(view: JobView, moments: Iterable[Moment]) -> Iterator[Span]:
    """The spans of a job, which have the same ids however often they are asked for."""
    noted = sorted(moments, key=lambda moment: moment.at)
    yield _whole(view)
    phases = [moment for moment in noted if not moment.member and moment.kind in _PHASES]
    for moment, after in pairwise([*phases, None]):
        if moment is not None:
            end = after.at if after is not None else view.updated_at
            yield _part(view, moment, _PHASES[moment.kind], end)
    exits = {(m.member, m.incarnation): m for m in noted if m.member and m.kind == _EXITED}
    for moment in noted:
        if moment.member and moment.kind == _BEGUN:
            exited = exits.get((moment.member, moment.incarnation))
            end = exited.at if exited is not None else view.updated_at
            span = _part(view, moment, f"program of {moment.member}", end)
            if exited is not None:
                span.attributes["barograph.job.exit"] = exited.text
            yield span


def _whole(view: JobView) -> Span:
    span = of_job(view.job_id)
    span.name = f"job {view.name}"
    span.start_ns, span.end_ns = _ns(view.created_at), _ns(view.updated_at)
    span.problem = view.reason if view.state == "failed" else ""
    span.attributes = {
        "barograph.job.id": view.job_id,
        "barograph.job.state": view.state,
        "barograph.job.reason": view.reason,
        "barograph.job.attempt": view.attempt,
        "barograph.job.failure_class": view.failure_class or "",
    }
    return span


def _part(view: JobView, moment: Moment, name: str, end: datetime) -> Span:
    span = of_job(view.job_id, moment.id)
    span.name, span.start_ns = name, _ns(moment.at)
    span.end_ns = max(span.start_ns, _ns(end))
    span.attributes = {"barograph.job.id": view.job_id, "barograph.job.text": moment.text}
    return span


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1000
