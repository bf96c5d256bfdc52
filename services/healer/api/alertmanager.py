"""Alerts from outside: Alertmanager's API v2, for Prometheus, and its webhook, version 4."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from services.healer.api.dependencies import Healer, Provided
from services.healer.incidents.alert_bodies import readable, readable_webhook, truncated
from services.healer.incidents.alertmanager_alerts import OutsideAlert
from shared.contracts import Fault
from shared.observe import OUTSIDE_ALERTS
from shared.store import give_way

routes = APIRouter(tags=["alerts in"])
log = structlog.get_logger(__name__)
_PART = 100
"""The most alerts that one transaction stores, so that other requests do not wait long."""
_JSON = {"requestBody": {"content": {"application/json": {"schema": {}}}, "required": True}}


class UnreadableBodyError(Exception):
    """The body is not JSON; the text says why."""


async def _posted(request: Request) -> Any:
    """The body as JSON, whatever its sender calls it: curl and SNS do not call it that."""
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise UnreadableBodyError(f"a body in {coding[:20]} is not taken; send it as it is")
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UnreadableBodyError(f"not JSON: {problem}") from error


Posted = Annotated[Any, Depends(_posted)]


@routes.post("/api/v2/alerts", openapi_extra=_JSON)
def alerts(healer: Provided, body: Posted) -> JSONResponse:
    """Accept alerts from Prometheus; configure this service as one of its Alertmanagers."""
    found, faults = readable(body)
    timeout = timedelta(seconds=healer.settings.alerting.resolve_timeout_s)
    _take(healer, found, timeout)
    return _said(len(found), faults)


@routes.post("/api/v1/alerts", include_in_schema=False)
def alerts_v1() -> JSONResponse:
    """Tell a Prometheus that is configured for Alertmanager's first API what to change."""
    problem = (
        "Alertmanager's API v1 is gone; send to /api/v2/alerts (in prometheus.yml: "
        "alerting.alertmanagers[].api_version: v2), or webhooks to /webhooks/alertmanager"
    )
    fault = Fault(field="", problem=problem)
    return JSONResponse({"faults": [fault.model_dump()]}, 410)


@routes.post("/webhooks/alertmanager", openapi_extra=_JSON)
def webhook(healer: Provided, body: Posted) -> JSONResponse:
    """Accept webhooks of Alertmanager, Grafana and others; an alert lasts until they resolve it."""
    found, faults = readable_webhook(body, healer.clock())
    _take(healer, found, None)
    if left_out := truncated(body):
        OUTSIDE_ALERTS.labels("truncated").inc(left_out)
        log.warning("alerts_truncated", left_out=left_out)
    return _said(len(found), faults)


@routes.get("/api/v2/status")
def status() -> dict[str, Any]:
    """Answer clients that check whether this is an Alertmanager."""
    return {"cluster": {"status": "disabled", "peers": []}, "versionInfo": {}, "config": {}}


def _take(healer: Healer, found: Sequence[OutsideAlert], holds: timedelta | None) -> None:
    for start in range(0, len(found), _PART):
        with healer.unit() as unit:
            ctx = healer.context(unit.records)
            unit.emit(*healer.handlers.outside_alerts(found[start : start + _PART], holds, ctx))
        give_way()
    OUTSIDE_ALERTS.labels("taken").inc(len(found))
    healer.wake()


def _said(taken: int, faults: Sequence[Fault]) -> JSONResponse:
    """Answer as Alertmanager does: valid alerts are accepted, and the faults of the others are
    named.
    """
    if not faults:
        return JSONResponse({"taken": taken})
    OUTSIDE_ALERTS.labels("refused").inc(len(faults))
    return JSONResponse({"taken": taken, "faults": [each.model_dump() for each in faults]}, 400)
