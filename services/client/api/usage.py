"""The resources that jobs request and use."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from services.client.access import CALLER
from services.client.api.dependencies import Provided
from services.client.api.jobs import JobId, found, missing
from services.client.description import JobUsage
from services.client.model import ReadModel
from services.client.usage_curve import CSV_HEAD, csv_rows

_AT_ONCE = 100
routes = APIRouter(tags=["jobs"])


@routes.get("/usage")
def all_jobs(client: Provided) -> list[JobUsage]:
    """The resource use of each job that has not ended, newest first."""
    return client.model.usage(CALLER.get().projects)


@routes.get("/jobs/{job_id}/usage")
def one_job(client: Provided, job_id: JobId) -> JobUsage:
    """The resource use of one job and of each of its members."""
    used = client.model.usage(CALLER.get().projects, job_id)
    if not used:
        raise missing(job_id)
    return used[0]


@routes.get("/jobs/{job_id}/usage.csv", response_class=StreamingResponse)
def over_time(client: Provided, job_id: JobId) -> StreamingResponse:
    """The resource use of each member over time: mean cores and maximum memory of each step.

    It is kept after the job's end, until the job is removed.
    """
    found(client.model, job_id)
    headers = {"content-disposition": f'attachment; filename="{job_id}-usage.csv"'}
    return StreamingResponse(_table(client.model, job_id), media_type="text/csv", headers=headers)


def _table(model: ReadModel, job_id: str) -> Iterator[str]:
    yield CSV_HEAD
    offset = 0
    while curves := model.usage_curves(job_id, offset, _AT_ONCE):
        offset += len(curves)
        for curve in curves:
            yield csv_rows(curve)
