"""Logs over HTTP: whole, in ranges, and followed as server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from services.client.access import CALLER
from services.client.api.dependencies import Provided
from services.client.api.faults import refusal
from services.client.api.jobs import JobId, found
from services.client.logs import LogEvent, StateEvent

_RANGE = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})$")
_MAX_FOLLOWERS = 1_000
Member = Annotated[str | None, Query(pattern=r"^[a-z0-9]+-[0-9]{1,6}$")]
Incarnation = Annotated[int | None, Query(ge=1, le=1_000_000)]


class Part(BaseModel):
    """The output of one incarnation of a member."""

    member: str
    incarnation: int
    size: int
    """The size in bytes."""


routes = APIRouter(prefix="/jobs/{job_id}/logs", tags=["logs"])


@routes.get("", response_class=StreamingResponse)
def whole(
    client: Provided,
    job_id: JobId,
    member: Member = None,
    incarnation: Incarnation = None,
    previous: bool = False,
    range_header: Annotated[str | None, Header(alias="Range")] = None,
) -> Response:
    """The logs of all members one after the other, or of one; ``Range`` is supported."""
    found(client.model, job_id)
    parts = client.log.parts(job_id, member, incarnation, previous=previous)
    chunks = [info for part in parts for info in part.chunks]
    size = sum(info.size for info in chunks)
    start, end = _span(range_header, size)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if range_header and (start, end) != (0, size):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if "Content-Range" in headers else 200
    return StreamingResponse(
        client.log.read(chunks, start, end), status, headers, "text/plain; charset=utf-8"
    )


@routes.get("/parts")
def parts(
    client: Provided,
    job_id: JobId,
    member: Member = None,
    incarnation: Incarnation = None,
    previous: bool = False,
) -> list[Part]:
    """A list of a job's logs, with member, incarnation and size of each."""
    found(client.model, job_id)
    return [
        Part(member=part.member, incarnation=part.incarnation, size=part.size)
        for part in client.log.parts(job_id, member, incarnation, previous=previous)
    ]


@routes.get("/follow", response_class=StreamingResponse)
def follow(
    client: Provided,
    job_id: JobId,
    last_event_id: Annotated[str, Header(pattern=r"^\d{0,12}$")] = "",
    after: Annotated[int, Query(ge=0, le=10**12)] = 0,
) -> StreamingResponse:
    """Server-sent events: ``log`` for each chunk, ``state`` when it changes, ``end`` at last."""
    found(client.model, job_id)
    if len(client.followed) >= _MAX_FOLLOWERS:
        raise refusal(503, f"{_MAX_FOLLOWERS} logs are followed already")
    position = int(last_event_id) if last_event_id else after
    projects = CALLER.get().projects

    async def events() -> AsyncIterator[str]:
        own = object()
        client.followed.add(own)
        try:
            yield "retry: 2000\n\n"
            async for event in client.log.follow(job_id, position, client.followers, projects):
                yield _sse(event)
        finally:
            client.followed.discard(own)

    return StreamingResponse(
        events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


def _sse(event: LogEvent | StateEvent | str) -> str:
    if isinstance(event, LogEvent):
        shown = {
            "member": event.member,
            "incarnation": event.incarnation,
            "text": event.text,
            "at": event.at.isoformat(),
        }
        data = json.dumps(shown)
        return f"id: {event.position}\nevent: log\ndata: {data}\n\n"
    if isinstance(event, StateEvent):
        return f"event: state\ndata: {json.dumps(asdict(event))}\n\n"
    if not event:
        return ": still here\n\n"
    return f"event: end\ndata: {json.dumps({'state': event})}\n\n"


def _span(header: str | None, size: int) -> tuple[int, int]:
    """First byte and the one after the last of a Range header; 416 when it cannot be met."""
    asked = _RANGE.match(header or "")
    if not asked or asked.groups() == ("", ""):
        return 0, size  # as HTTP has it, a range that is not understood is ignored
    first, last = asked.groups()
    if not first:
        return max(0, size - int(last)), size
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if start >= size or end <= start:
        raise refusal(416, f"the log has {size} bytes", "Range")
    return start, end
