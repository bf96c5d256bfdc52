"""The start page: what needs a person now, with links to everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.client.access import CALLER
from services.client.alerts.records import OPEN_RANKS
from services.client.api.dependencies import Client, Provided
from services.client.records import SUBMITTED, JobView
from services.client.series.addresses import way_of
from shared.contracts import JobState
from shared.contracts.alerts import Severity

_MAX_ROWS, _MAX_SHOWN, _MAX_RECENT = 100, 8, 5
"""Records that are counted, and those that are listed, of each matter; and other jobs."""
_ALARMS_WITHIN = timedelta(hours=1)
_LATELY = timedelta(days=1)
_STUCK_AFTER = timedelta(minutes=10)
_BEFORE_RUNNING = (SUBMITTED, JobState.ACCEPTED, JobState.STARTING, JobState.RETRYING)
_MAX_BEGUN = 100
_CRITICAL = tuple(rank for rank in OPEN_RANKS if rank.endswith(Severity.CRITICAL))


routes = APIRouter(include_in_schema=False)


@routes.get("/", response_model=None)
def overview(
    client: Provided, offset: Annotated[int | None, Query(ge=0, le=10_000_000)] = None
) -> Response:
    if offset is not None:
        return RedirectResponse(f"/jobs?offset={offset}", 308)
    needed = _needed(client)
    due = needed["due"][:_MAX_SHOWN]
    alerts_of = client.alerts.alerts_of(due)
    ways = [
        f"/alerts/{alerts_of[e.event_id]}" if e.event_id in alerts_of else way_of(e) for e in due
    ]
    ways_due = list(zip(due, ways, strict=True))
    return client.page("overview.html", here="overview", ways_due=ways_due, **needed)


@routes.get("/wall")
def wall(client: Provided) -> HTMLResponse:
    """Show the start page for a screen on the wall: large, dark, live, and without buttons."""
    needed = _needed(client)
    lines = {
        "lines_of_critical": [f"{a.item} on {a.host}" for a in needed["critical"]],
        "lines_to_decide": [f"{a.remediation} on {a.target}" for a in needed["to_decide"]],
        "lines_due": [f"{e.item} on {e.host}" for e in needed["due"]],
        "lines_failed": [f"{job.name} ({job.job_id})" for job in needed["failed"]],
        "lines_dead": [f"{count} in {queue}" for queue, count in needed["dead"].items()],
        "lines_stuck": [f"{job.name} ({job.job_id})" for job in needed["stuck"]],
    }
    asking = ("critical", "to_decide", "due", "failed", "stuck")
    calm = not (needed["reach"].problems or needed["dead"] or any(needed[name] for name in asking))
    return client.page("wall.html", calm=calm, **needed, **lines)


def _needed(client: Client) -> dict[str, Any]:
    """The matters that need a person now, and the number of further ones."""
    now, alerts, model = datetime.now(UTC), client.alerts, client.model
    counts = alerts.counts()
    projects = CALLER.get().projects
    failed = model.jobs((JobState.FAILED,), _MAX_ROWS, 0, projects)
    failed = [job for job in failed if now - job.updated_at < _LATELY]
    begun = model.oldest(_BEFORE_RUNNING, _MAX_BEGUN, projects)
    stuck = [job for job in begun if now - _since(job) > _STUCK_AFTER][:_MAX_ROWS]
    listed = {job.job_id for job in (*failed[:_MAX_SHOWN], *stuck[:_MAX_SHOWN])}
    newest = model.jobs((), _MAX_RECENT + len(listed), 0, projects)
    return {
        "reach": client.reaching.now(),
        "dead": client.dead_letters.now(),
        "critical": alerts.unacknowledged(_CRITICAL, _MAX_ROWS),
        "critical_open": sum(counts[rank] for rank in _CRITICAL),
        "due": alerts.forecasts(_MAX_ROWS, before=now + _ALARMS_WITHIN),
        "failed": failed,
        "stuck": stuck,
        "open_alerts": sum(counts[rank] for rank in OPEN_RANKS),
        "open_forecasts": alerts.open_forecasts(),
        "recent": [job for job in newest if job.job_id not in listed][:_MAX_RECENT],
        "now": now,
        "most": _MAX_ROWS,
        "shown": _MAX_SHOWN,
        "to_decide": alerts.proposed(now, _MAX_ROWS),
    }


def _since(job: JobView) -> datetime:
    return job.pending.since if job.pending else job.updated_at
