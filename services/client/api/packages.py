"""Packages that a browser uploads through this service; their size is limited while reading.

A browser may send to no other address than the page's own, so it cannot use the links to the
object store that ``/uploads`` gives.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from services.client.api.dependencies import Client, Provided
from services.client.api.faults import Faults, Refusal, refusal
from services.client.api.projects import NamedProject, own_project
from shared.contracts import Fault
from shared.packages import check
from shared.packages.places import prefix_of
from shared.storage import AlreadyExists

PATH = "/api/v1/packages"
_AT_ONCE, _A_PIECE_S, _WHOLE_S = 4, 30.0, 1800.0


class PackageStored(BaseModel):
    """The fields of a job that name the stored package."""

    package: str = Field(description="bucket:key prefix:file name.")
    package_sha256: str = Field(description="The digest of the package.")
    size: int = Field(description="The size of the package in bytes.")


routes = APIRouter(tags=["uploads"])


@routes.put(
    "/packages",
    responses={code: {"model": Faults} for code in (408, 411, 413, 422, 503)},
    openapi_extra={"requestBody": {"required": True, "content": {"application/gzip": {}}}},
)
async def put(
    client: Provided, request: Request, project: Annotated[NamedProject, Query()] = ""
) -> PackageStored:
    """Store a package (a tar.gz with ``code`` and optionally ``data``) sent as the body."""
    owner = own_project(project)
    most = client.settings.max_page_upload_bytes
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal():
        raise refusal(411, "a Content-Length header is required")
    if int(declared[:20]) > most:
        raise refusal(413, f"at most {most} bytes are accepted here; tshell submit accepts more")
    if len(client.received) >= _AT_ONCE:
        raise refusal(503, f"{_AT_ONCE} packages are coming already")
    own = object()
    client.received.add(own)
    try:
        with tempfile.TemporaryDirectory(prefix="barograph-package-") as folder:
            path = Path(folder) / "package.tar.gz"
            digest = await _received(request, path, most)
            return await run_in_threadpool(stored, client, owner, path, digest)
    finally:
        client.received.discard(own)


async def _received(request: Request, path: Path, most: int) -> str:
    """Write the body to ``path``; its digest."""
    digest, size = hashlib.sha256(), 0
    pieces = request.stream().__aiter__()
    try:
        with path.open("wb") as file:
            async with asyncio.timeout(_WHOLE_S):
                while True:
                    async with asyncio.timeout(_A_PIECE_S):
                        piece = await anext(pieces, None)
                    if piece is None:
                        return digest.hexdigest()
                    size += len(piece)
                    if size > most:
                        raise refusal(413, f"at most {most} bytes are accepted here")
                    digest.update(piece)
                    await run_in_threadpool(file.write, piece)
    except TimeoutError:
        raise refusal(408, "the package did not come in time") from None
    except ClientDisconnect:
        raise refusal(400, "the package broke off") from None


def stored(client: Client, project: str, path: Path, digest: str) -> PackageStored:
    """Keep an archive as a project's, under its digest, if it is a package.

    Raises:
        Refusal: naming every reason why it is none.
    """
    if faults := check(path):
        found = [Fault(field="package", problem=fault) for fault in faults[:100]]
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, *found)
    bucket, prefix = client.settings.s3_bucket, prefix_of(project)
    client.objects.ensure_bucket(bucket)
    try:
        client.objects.put(bucket, f"{prefix}/{digest}.tar.gz", path, only_if_absent=True)
    except AlreadyExists:
        pass  # the same bytes
    return PackageStored(
        package=f"{bucket}:{prefix}:{digest}.tar.gz",
        package_sha256=digest,
        size=path.stat().st_size,
    )
