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
from services.healer.incidents.alertmanager_alerts import (
    OutsideAlert,
    readable,
    readable_webhook,
    truncated,
)
from shared.contracts import Fault
from shared.observe import OUTSIDE_ALERTS
from shared.store import give_way

routes = APIRouter(tags=["alerts in"])
log = structlog.get_logger(__name__)
_PART = 100
"""Alerts in one transaction: others must not wait long for theirs."""
_JSON = {"requestBody": {"content": {"application/json": {"schema": {}}}, "required": True}}


class UnreadableBodyError(Exception):
    """The body is no JSON; the text says why."""


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
    """Take alerts as Prometheus sends them; set this service as one of its alertmanagers."""
    found, faults = readable(body)
    timeout = timedelta(seconds=healer.settings.alerting.resolve_timeout_s)
    _take(healer, found, timeout)
    return _said(faults)


@routes.post("/webhooks/alertmanager", openapi_extra=_JSON)
def webhook(healer: Provided, body: Posted) -> JSONResponse:
    """Take what an Alertmanager or Grafana tells of; it holds until they say it is resolved."""
    found, faults = readable_webhook(body)
    _take(healer, found, None)
    if left_out := truncated(body):
        OUTSIDE_ALERTS.labels("truncated").inc(left_out)
        log.warning("alerts_truncated", left_out=left_out)
    return _said(faults)


@routes.get("/api/v2/status")
def status() -> dict[str, Any]:
    """Answer clients that ask whether this is an Alertmanager."""
    return {"cluster": {"status": "disabled", "peers": []}, "versionInfo": {}, "config": {}}


def _take(healer: Healer, found: Sequence[OutsideAlert], holds: timedelta | None) -> None:
    for start in range(0, len(found), _PART):
        with healer.unit() as unit:
            ctx = healer.context(unit.records)
            for alert in found[start : start + _PART]:
                unit.emit(*healer.handlers.outside_alert(alert, holds, ctx))
        give_way()
    OUTSIDE_ALERTS.labels("taken").inc(len(found))
    healer.wake()


def _said(faults: Sequence[Fault]) -> JSONResponse:
    """As Alertmanager: the good ones are taken, and the bad ones named."""
    if not faults:
        return JSONResponse({})
    OUTSIDE_ALERTS.labels("refused").inc(len(faults))
    return JSONResponse({"faults": [fault.model_dump() for fault in faults]}, 400)
