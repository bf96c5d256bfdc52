"""Alerts from outside: Alertmanager's API v2, for Prometheus, and its webhook, version 4."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse

from services.healer.incidents.alertmanager_alerts import (
    OutsideAlert,
    readable,
    readable_webhook,
)
from shared.contracts import Fault
from shared.observe import OUTSIDE_ALERTS

if TYPE_CHECKING:
    from services.healer.api.app import Healer

_PART = 500
"""Alerts in one transaction: others must not wait long for theirs."""


def router(healer: Healer) -> APIRouter:
    """``/api/v2/alerts`` and ``/webhooks/alertmanager``."""
    routes = APIRouter(tags=["alerts in"])
    timeout = timedelta(seconds=healer.settings.alerting.resolve_timeout_s)

    @routes.post("/api/v2/alerts")
    def alerts(body: Annotated[Any, Body()]) -> JSONResponse:
        """Take alerts as Prometheus sends them; set this service as one of its alertmanagers."""
        found, faults = readable(body)
        take(found, timeout)
        return said(faults)

    @routes.post("/webhooks/alertmanager")
    def webhook(body: Annotated[Any, Body()]) -> JSONResponse:
        """Take what an Alertmanager or Grafana tells of; it holds until they say it is resolved."""
        found, faults = readable_webhook(body)
        take(found, None)
        return said(faults)

    @routes.get("/api/v2/status")
    def status() -> dict[str, Any]:
        """What asks whether this is an Alertmanager."""
        return {"cluster": {"status": "disabled", "peers": []}, "versionInfo": {}, "config": {}}

    def take(found: Sequence[OutsideAlert], holds: timedelta | None) -> None:
        for start in range(0, len(found), _PART):
            with healer.unit() as unit:
                ctx = healer.context(unit.records)
                for alert in found[start : start + _PART]:
                    unit.emit(*healer.handlers.outside_alert(alert, holds, ctx))
        OUTSIDE_ALERTS.labels("taken").inc(len(found))
        healer.wake()

    def said(faults: Sequence[Fault]) -> JSONResponse:
        """As Alertmanager: the good ones are taken, and the bad ones named."""
        if not faults:
            return JSONResponse({})
        OUTSIDE_ALERTS.labels("refused").inc(len(faults))
        return JSONResponse({"faults": [fault.model_dump() for fault in faults]}, 400)

    return routes
