"""A job's results: its files one by one, directly from the object store."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from services.client.api.dependencies import Provided
from services.client.api.faults import Faults, refusal
from services.client.api.jobs import JobId, found
from shared.storage import is_storable

_KINDS = ("model/", "output/")
_LINK_S = 3600
_MAX_FILES = 1_000


class ResultFile(BaseModel):
    """A file that a job's program left in its model or output directory."""

    path: str = Field(description="The path below the job, e.g. model/weights.h5.")
    size: int = Field(description="The size in bytes.")


class ResultPage(BaseModel):
    """Some of a job's files, by path; ``next_after`` is None on the last page."""

    files: list[ResultFile]
    next_after: str | None


routes = APIRouter(
    prefix="/jobs/{job_id}/results",
    tags=["results"],
    responses={404: {"model": Faults}, 422: {"model": Faults}, 503: {"model": Faults}},
)


@routes.get("")
def results(
    client: Provided,
    job_id: JobId,
    below: Annotated[str, Query(max_length=1024)] = "",
    after: Annotated[str, Query(max_length=1024)] = "",
    limit: Annotated[int, Query(ge=1, le=_MAX_FILES)] = _MAX_FILES,
) -> ResultPage:
    """List a job's result files, all or those ``below`` a path."""
    found(client.model, job_id)
    own = f"jobs/{job_id}/"
    each = (
        ResultFile(path=info.key.removeprefix(own), size=info.size)
        for kind in _KINDS
        for info in client.objects.list(client.settings.s3_bucket, own + kind)
    )
    wanted = (file for file in each if file.path > after and _is_below(file.path, below))
    files = list(islice(wanted, limit + 1))
    return ResultPage(
        files=files[:limit], next_after=files[limit - 1].path if len(files) > limit else None
    )


@routes.get("/{path:path}", status_code=307, response_class=RedirectResponse)
def result(
    client: Provided, job_id: JobId, path: Annotated[str, Path(max_length=1024)]
) -> RedirectResponse:
    """Download one file: redirects to an address of the object store, valid for an hour."""
    found(client.model, job_id)
    key = f"jobs/{job_id}/{path}"
    usable = path.startswith(_KINDS) and is_storable(path)
    info = client.objects.head(client.settings.s3_bucket, key) if usable else None
    if info is None:
        raise refusal(404, "the job left no such file", "path")
    return RedirectResponse(
        client.objects.presign_get(client.settings.s3_bucket, key, _LINK_S), 307
    )


def _is_below(path: str, below: str) -> bool:
    wanted = below.strip("/")
    return not wanted or path == wanted or path.startswith(f"{wanted}/")
