"""Plans: the task service's answer to what a job would become, before it is submitted."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel

from services.client.access import CALLER
from services.client.api.dependencies import Client, Provided
from services.client.api.faults import Faults, refusal
from services.client.api.jobs import allowed, in_own_name, known_already
from services.client.api.projects import own_package, own_project
from services.client.records import PlanView
from shared.contracts import JobPlan
from shared.packages.places import key_of, prefix_of

_LONGEST_S = 60.0


class Asked(BaseModel):
    """The broker has confirmed the request; the answer will be at /plans/{request_id}."""

    request_id: str


def ask_for_plan(client: Client, body: dict[str, Any], *, server: bool) -> str:
    """Ask the task service what a job would be; the id by which the answer is found.

    The job's package need not be uploaded, or named.
    """
    request_id = f"plan-{uuid.uuid4().hex}"
    named = "package" in body
    bucket = client.settings.s3_bucket
    digest = body.get("package_sha256") or "not-uploaded"
    to_come = f"{bucket}:{prefix_of(own_project(body.get('project')))}:{digest}.tar.gz"
    body.setdefault("job_id", request_id[: len("plan-") + 12])
    job = in_own_name({"package": to_come} | body)
    known_already(client.model, job)
    allowed(job, client.healer)
    own_package(job, bucket)
    if named and not _is_there(client, job.package):
        raise refusal(409, "there is no such package; upload it first", "package")
    client.model.ask(request_id, datetime.now(UTC), job.project)
    client.publisher.publish([JobPlan(request_id=request_id, job=job, server=server)])
    return request_id


def _is_there(client: Client, package: str) -> bool:
    """Return whether a package of this installation's bucket is there."""
    return client.objects.head(client.settings.s3_bucket, key_of(package)) is not None


routes = APIRouter(
    prefix="/plans",
    tags=["plans"],
    responses={404: {"model": Faults}, 422: {"model": Faults}, 503: {"model": Faults}},
)


@routes.post("", status_code=202)
def ask(client: Provided, body: Annotated[dict[str, Any], Body()], server: bool = True) -> Asked:
    """Request a plan of the job in the body. Its package need not be uploaded or named."""
    return Asked(request_id=ask_for_plan(client, body, server=server))


@routes.get("/{request_id}")
async def answer(
    client: Provided,
    request_id: Annotated[str, Path(pattern=r"^plan-[0-9a-f]{32}$")],
    wait_s: Annotated[float, Query(ge=0, le=_LONGEST_S, allow_inf_nan=False)] = 0,
) -> PlanView:
    """The answer, after waiting up to ``wait_s`` for it; null if there is none yet."""
    deadline = time.monotonic() + wait_s
    while True:
        plan = await asyncio.to_thread(client.model.plan, request_id, CALLER.get().projects)
        if plan is None:
            raise refusal(404, f"there is no plan {request_id}", "request_id")
        left = deadline - time.monotonic()
        if plan.answer is not None or left <= 0:
            return plan
        await client.followers.wait(left)
