"""Jobs over HTTP: submit, list, show, cancel, remove."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, Field

from services.client.access import CALLER, UNNAMED
from services.client.api import notice_targets
from services.client.api.dependencies import Client, Provided
from services.client.api.faults import Faults, Refusal, refusal
from services.client.api.projects import OfProject, may_submit, own_package, own_project
from services.client.description import Description
from services.client.healer_api import HealerApi
from services.client.model import SHOWN_STATES, ReadModel
from services.client.records import ENDED, REFUSED, JobView
from shared.contracts import JobCancel, JobRemove, JobSubmit
from shared.messaging import BrokerUnavailable
from shared.store import StoreUnavailable

JobId = Annotated[str, Path(max_length=128, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]
_MAX_WHO = 128
_FAULTS: dict[int | str, dict[str, Any]] = {
    404: {"model": Faults},
    409: {"model": Faults},
    422: {"model": Faults},
    503: {"model": Faults},
}


class Accepted(BaseModel):
    """The broker has confirmed the request; the job's state shows the outcome."""

    job_id: str
    known: bool = Field(default=False, description="True if this very job was submitted before.")


class JobPage(BaseModel):
    """Some jobs, newest first; ``next_offset`` is None on the last page.

    Without arguments, variables, last lines and names of files, which a job's own page has.
    """

    jobs: list[JobView]
    next_offset: int | None


class CancelReason(BaseModel):
    """A reason, in words for people."""

    reason: Annotated[str, Body(max_length=500)] = ""


def found(model: ReadModel, job_id: str) -> JobView:
    """The job; a 404 when there is none in the caller's projects."""
    view = model.job(job_id, CALLER.get().projects)
    if view is None:
        raise missing(job_id)
    return view


def missing(job_id: str) -> Refusal:
    """The 404 of a job nobody knows."""
    return refusal(404, f"there is no job {job_id}", "job_id")


def known_already(model: ReadModel, message: JobSubmit) -> bool:
    """Return whether this very job was submitted before; a 409 when its id is another job's."""
    projects = CALLER.get().projects
    if model.is_taken(message.job_id, projects):
        raise refusal(409, "this id cannot be used; choose a new one", "job_id")
    view = model.job(message.job_id, projects)
    if view is None or view.state == REFUSED or view.submit is None:
        return False
    if view.submit != message:
        text = f"this id belongs to another job, which is {view.state}; choose a new one"
        raise refusal(409, text, "job_id")
    return True


def in_own_name(body: dict[str, Any]) -> JobSubmit:
    """The job a caller asks for, in their name where they have one, in a project of theirs."""
    caller = CALLER.get()
    named = {} if caller.name in ("", UNNAMED) else {"submitted_by": caller.name[:_MAX_WHO]}
    own = {} if body.get("project") else {"project": own_project("")}
    job = JobSubmit.model_validate(body | named | own)
    own_project(job.project)
    return job


def allowed(message: JobSubmit, healer: HealerApi) -> None:
    """A 422 when it wants somebody notified whom no job may name."""
    if found := notice_targets.faults(message, healer):
        raise Refusal(422, *found)


def submit_job(client: Client, body: dict[str, Any]) -> Accepted:
    """Publish the job in the body, unless its id is another job's.

    A 503 after which the job may run all the same names its id, so that a repeat is the same job.
    """
    body.setdefault("job_id", f"job-{uuid.uuid4().hex[:12]}")
    message = in_own_name(body)
    known = known_already(client.model, message)
    own_package(message, client.settings.s3_bucket)
    allowed(message, client.healer)
    try:
        client.publisher.publish([message])
        client.model.submitted(message, datetime.now(UTC))
    except (BrokerUnavailable, StoreUnavailable) as error:
        text = (
            f"no confirmation: {error}; it may have been taken all the same, as job "
            f"{message.job_id}: look for it, or send it again with this job_id"
        )
        raise refusal(503, text, "job_id") from error
    return Accepted(job_id=message.job_id, known=known)


routes = APIRouter(prefix="/jobs", tags=["jobs"], responses=_FAULTS)


@routes.post(
    "",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The message job.submit; job_id may be left out.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
def submit(client: Provided, body: Annotated[dict[str, Any], Body()]) -> Accepted:
    """Submit a job. The same job_id is the same job, so repeating is harmless.

    Without a job_id one is made up: the answer names it, also a 503 after which it may run.
    """
    return submit_job(client, body)


@routes.get("")
def jobs(
    client: Provided,
    state: Annotated[list[str] | None, Query()] = None,
    project: OfProject = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> JobPage:
    """List jobs, newest first."""
    unknown = sorted(set(state or ()) - set(SHOWN_STATES))
    if unknown:
        raise refusal(422, f"no such state: {', '.join(unknown)}", "state")
    projects = CALLER.get().projects.only(project)
    views = client.model.jobs(tuple(state or ()), limit + 1, offset, projects)
    more = offset + limit if len(views) > limit else None
    return JobPage(jobs=views[:limit], next_offset=more)


@routes.get("/{job_id}")
def job(client: Provided, job_id: JobId) -> JobView:
    """Show one job with its reason, artifacts and submitted fields."""
    return found(client.model, job_id)


@routes.get("/{job_id}/description")
def description(client: Provided, job_id: JobId) -> Description:
    """Show everything about a job: its members, why it is waiting, and its timeline."""
    described = client.model.description(job_id, datetime.now(UTC), CALLER.get().projects)
    if described is None:
        raise missing(job_id)
    return described


@routes.post("/{job_id}/cancel", status_code=202)
def cancel(client: Provided, job_id: JobId, body: CancelReason | None = None) -> Accepted:
    """Stop a job; what it has written so far is stored."""
    may_submit(found(client.model, job_id).project)
    reason = (body or CancelReason()).reason or f"cancelled by {CALLER.get().described}"
    client.publisher.publish([JobCancel(job_id=job_id, reason=reason)])
    return Accepted(job_id=job_id)


@routes.delete("/{job_id}", status_code=202)
def remove(client: Provided, job_id: JobId) -> Accepted:
    """Delete an ended job: its record, logs and model."""
    view = found(client.model, job_id)
    may_submit(view.project)
    if view.state not in ENDED:
        raise refusal(409, f"the job is {view.state}; cancel it first", "job_id")
    send_away(client, [view])
    return Accepted(job_id=job_id)


def send_away(client: Client, views: Sequence[JobView]) -> None:
    """Remove jobs that ended. One that was refused is known here alone, and is forgotten here."""
    client.model.forget([view.job_id for view in views if view.state == REFUSED])
    known = [JobRemove(job_id=view.job_id) for view in views if view.state != REFUSED]
    if known:
        client.publisher.publish(known)
