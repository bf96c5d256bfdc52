"""Open alerts and their acknowledgement; channels and their test."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Body, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from services.healer.api.dependencies import Provided
from services.healer.channel_test import test_notice, tried
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.notification import CHANNEL_FAILURES, DELIVERIES, NOTIFICATION_STATES
from services.healer.notify.channels import Channel
from services.healer.people.acknowledgement import NotFound
from shared.contracts.alerts import Severity
from shared.store import Records

routes = APIRouter(tags=["alerts"])


class AlertView(BaseModel):
    """The notification state of an open alert."""

    incident_id: str
    labels: dict[str, str]
    severity: Severity
    state: str
    since: str
    status: str
    """waiting: for evidence; pending: people are to be notified; held; notified."""
    held_by: str
    cause: str
    acknowledged: bool
    flapping: bool
    value: float
    crossing_ms: int | None
    """The time at which the alarm is due, if it is only predicted."""
    sentence: str


class Acknowledgement(BaseModel):
    """The person who acknowledges it."""

    by: Annotated[str, Body(min_length=1, max_length=200)]


class ChannelView(BaseModel):
    """A channel, without its secrets."""

    name: str
    type: str
    recipients: int
    last_sent: datetime | None
    """The time at which a recipient last accepted a notice; None if none is remembered."""
    failing_since: datetime | None
    """The time since which a recipient cannot be reached; None while all can be."""


def _shown(channel: Channel, records: Records, keep: timedelta) -> ChannelView:
    named = [f"{channel.name} {recipient}" for recipient in channel.recipients()]
    sent = [
        delivery.due - keep  # it is forgotten so long after it was sent
        for group in named
        for delivery in records.find(
            DELIVERIES, group=group, status="sent", newest_first=True, limit=1
        )
    ]
    failures = [records.get(CHANNEL_FAILURES, each.strip()) for each in named]
    return ChannelView(
        name=channel.name,
        type=channel.TYPE,
        recipients=len(named),
        last_sent=max(sent, default=None),
        failing_since=min((f.since for f in failures if f), default=None),
    )


@routes.get("/alerts")
def alerts(
    healer: Provided,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> list[AlertView]:
    """Open alerts, oldest first."""
    with healer.unit() as unit:
        found = unit.records.find(NOTIFICATION_STATES, limit=limit, offset=offset)
    return [
        AlertView(
            incident_id=s.incident_id,
            labels=s.labels,
            severity=s.severity,
            state=s.tell,
            since=s.since.isoformat(),
            status=s.status.shown,
            held_by=s.held_by,
            cause=s.cause,
            acknowledged=s.acknowledged,
            flapping=bool(s.flapping),
            value=s.value,
            crossing_ms=s.crossing_ms,
            sentence=s.sentence,
        )
        for s in found
        if not s.ended
    ]


@routes.get("/alerts/{incident_id}")
def alert(healer: Provided, incident_id: str) -> Incident:
    """Show one alert, open or recently ended: its signals, evidence, plan, and what was done."""
    with healer.unit() as unit:
        incident = unit.records.get(INCIDENTS, incident_id)
    if incident is None:
        raise NotFound("there is no alert with this id")
    return incident


@routes.post("/alerts/{incident_id}/acknowledge", status_code=204)
def acknowledge(healer: Provided, incident_id: str, body: Acknowledgement) -> None:
    """Acknowledge an alert; repeating it changes nothing."""
    with healer.unit() as unit:
        ctx = healer.context(unit.records)
        unit.emit(*healer.handlers.people.acknowledge(incident_id, body.by, ctx))
    healer.wake()


@routes.get("/channels")
def channels(healer: Provided) -> list[ChannelView]:
    """List the configured channels with their last success and failure; no secrets."""
    keep = timedelta(days=healer.settings.keep_days)
    with healer.unit() as unit:
        return [_shown(each, unit.records, keep) for each in healer.settings.all_channels]


@routes.post("/channels/{name}/test")
def test(healer: Provided, name: str) -> JSONResponse:
    """Send a test now, bypassing all queues; 502 carries the receiver's answer."""
    channel = next((c for c in healer.settings.all_channels if c.name == name), None)
    if channel is None:
        raise HTTPException(404, f"there is no channel {name}")
    notice = test_notice(healer.clock())
    failed = tried(channel, notice, healer.tools)
    return JSONResponse({"id": notice.message_id, "failed": failed}, 502 if failed else 200)
