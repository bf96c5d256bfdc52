"""Alerts from outside: Alertmanager's API v2, for Prometheus, and its webhook, version 4."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse

from services.healer.api.dependencies import Healer, Provided
from services.healer.incidents.alertmanager_alerts import (
    OutsideAlert,
    readable,
    readable_webhook,
)
from shared.contracts import Fault
from shared.observe import OUTSIDE_ALERTS

routes = APIRouter(tags=["alerts in"])
_PART = 500
"""Alerts in one transaction: others must not wait long for theirs."""


@routes.post("/api/v2/alerts")
def alerts(healer: Provided, body: Annotated[Any, Body()]) -> JSONResponse:
    """Take alerts as Prometheus sends them; set this service as one of its alertmanagers."""
    found, faults = readable(body)
    timeout = timedelta(seconds=healer.settings.alerting.resolve_timeout_s)
    _take(healer, found, timeout)
    return _said(faults)


@routes.post("/webhooks/alertmanager")
def webhook(healer: Provided, body: Annotated[Any, Body()]) -> JSONResponse:
    """Take what an Alertmanager or Grafana tells of; it holds until they say it is resolved."""
    found, faults = readable_webhook(body)
    _take(healer, found, None)
    return _said(faults)


@routes.get("/api/v2/status")
def status() -> dict[str, Any]:
    """What asks whether this is an Alertmanager."""
    return {"cluster": {"status": "disabled", "peers": []}, "versionInfo": {}, "config": {}}


def _take(healer: Healer, found: Sequence[OutsideAlert], holds: timedelta | None) -> None:
    for start in range(0, len(found), _PART):
        with healer.unit() as unit:
            ctx = healer.context(unit.records)
            for alert in found[start : start + _PART]:
                unit.emit(*healer.handlers.outside_alert(alert, holds, ctx))
    OUTSIDE_ALERTS.labels("taken").inc(len(found))
    healer.wake()


def _said(faults: Sequence[Fault]) -> JSONResponse:
    """As Alertmanager: the good ones are taken, and the bad ones named."""
    if not faults:
        return JSONResponse({})
    OUTSIDE_ALERTS.labels("refused").inc(len(faults))
    return JSONResponse({"faults": [fault.model_dump() for fault in faults]}, 400)
