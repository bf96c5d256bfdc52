"""What jobs asked for and what they use."""

from __future__ import annotations

from fastapi import APIRouter

from services.client.api.jobs import JobId, missing
from services.client.description import JobUsage
from services.client.model import ReadModel


def router(model: ReadModel) -> APIRouter:
    """/usage and /jobs/{job_id}/usage."""
    routes = APIRouter(tags=["jobs"])

    @routes.get("/usage")
    def all_jobs() -> list[JobUsage]:
        """Of each job that has not ended, newest first."""
        return model.usage()

    @routes.get("/jobs/{job_id}/usage")
    def one_job(job_id: JobId) -> JobUsage:
        """Of one job and each of its members."""
        used = model.usage(job_id)
        if not used:
            raise missing(job_id)
        return used[0]

    return routes
