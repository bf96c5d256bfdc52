"""Silences: list, preview, create, end."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Query
from pydantic import BaseModel

from services.healer.api.dependencies import Healer, Provided
from services.healer.notify.silences import Silence
from services.healer.people import alerting_news
from services.healer.people.acknowledgement import Preview
from shared.contracts import SilenceChanged
from shared.service.unit import ServiceUnit

routes = APIRouter(prefix="/silences", tags=["silences"])
_MAX_WINDOWS = 100


class Window(BaseModel):
    """A time in which a silence mutes."""

    silence_id: str
    begin: datetime
    end: datetime


class Written(Silence):
    """A silence that was made or ended."""

    change: SilenceChanged
    """The event that was published about it, by which a page can show it at once."""


@routes.get("")
def silences(healer: Provided) -> list[Silence]:
    """List all silences, the configured windows first."""
    with healer.unit() as unit:
        return list(healer.handlers.people.silences(healer.context(unit.records)))


@routes.get("/calendar")
def calendar(healer: Provided, days: Annotated[int, Query(ge=1, le=60)] = 14) -> list[Window]:
    """List the windows in which silences mute within the next `days`."""
    now = healer.clock()
    with healer.unit() as unit:
        found = healer.handlers.people.silences(healer.context(unit.records))
    until = now + timedelta(days=days)
    return [
        Window(silence_id=each.silence_id, begin=begin, end=min(end, until))
        for each in found
        for begin, end in each.windows(now, _MAX_WINDOWS)
        if begin < until
    ]


@routes.post("/preview")
def preview(healer: Provided, body: Annotated[dict[str, Any], Body()]) -> Preview:
    """Show what a silence would mute: open alerts, its next windows, the past week."""
    now = healer.clock()
    with healer.unit() as unit:
        return healer.handlers.people.preview(_silence(body, now), healer.context(unit.records))


@routes.post("", status_code=201)
def make(healer: Provided, body: Annotated[dict[str, Any], Body()]) -> Written:
    """Add a silence, or replace the one with the same silence_id."""
    people = healer.handlers.people
    silence = _silence(body, healer.clock())
    if any(silence.silence_id == window.silence_id for window in people.windows):
        raise HTTPException(409, "a configured window has this id")
    with healer.unit() as unit:
        people.silence(silence, healer.context(unit.records))
        return _published(silence, healer, unit)


@routes.delete("/{silence_id}")
def end(
    healer: Provided,
    silence_id: str,
    by: Annotated[
        str, Query(max_length=200, description="The person who ends it, for the audit log.")
    ] = "",
) -> Written:
    """End a silence now; people are notified of what it held back."""
    with healer.unit() as unit:
        ended = healer.handlers.people.end_silence(silence_id, healer.context(unit.records), by)
        written = _published(ended, healer, unit)
    healer.wake()
    return written


def _published(silence: Silence, healer: Healer, unit: ServiceUnit) -> Written:
    change = alerting_news.changed(silence, healer.context(unit.records))
    unit.emit(change)
    return Written(**dict(silence), change=change)


def _silence(body: dict[str, Any], now: datetime) -> Silence:
    usual = {"silence_id": str(uuid.uuid4()), "starts_at": now.isoformat()}
    silence = Silence.model_validate(usual | body)
    if silence.covers({}):
        # As in Alertmanager: a slip such as host="" or host=~".*" must not mute everything.
        text = 'these matchers fit every alert; one must need a label, such as severity=~".+"'
        raise HTTPException(422, text)
    if not silence.windows(now, 1):
        raise HTTPException(422, _never_mutes(silence, now))
    return silence


def _never_mutes(silence: Silence, now: datetime) -> str:
    """Return why a silence would do nothing, though its maker believes that it does."""
    if silence.ends_at <= now:
        return f"ends_at {silence.ends_at:%F %T} UTC has passed; it is {now:%F %T} UTC"
    return (
        f"the recurrence has no window between starts_at and ends_at ({silence.ends_at:%F %T} UTC)"
    )
