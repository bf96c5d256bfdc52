"""Request bodies with alerts: Alertmanager's API v2, its webhook, and other monitors."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from services.healer.incidents.alertmanager_alerts import OutsideAlert
from services.healer.incidents.foreign_alerts import foreign_alerts
from services.healer.model.faults import faults_of
from shared.changes import changed
from shared.contracts import Fault

MAX_ALERTS = 10_000
"""The most alerts of one request; Prometheus sends 64, an Alertmanager those of a group."""
_VERSIONS = ("4", "1")
"""The versions of Alertmanager's webhook and of Grafana's, which has the same fields."""
_EXAMPLE = (
    '{"alerts": [{"status": "firing" or "resolved", "labels": {"alertname": "DiskFull", "host":'
    ' "web1"}, "annotations": {"summary": "91 % used"}}]}'
)
_MAX_TRUNCATED = 1_000_000
_MAX_FAULTS = 1_000


def readable(body: object) -> tuple[list[OutsideAlert], list[Fault]]:
    """The readable alerts, and the faults of the others."""
    if isinstance(body, dict) and "alerts" in body:
        problem = "this is a webhook's body: /webhooks/alertmanager takes it"
        return [], [Fault(field="", problem=problem)]
    if body is None:
        return [], []  # Go's empty list
    if not isinstance(body, list):
        return [], [Fault(field="", problem="must be a list of alerts")]
    found: list[OutsideAlert] = []
    faults: list[Fault] = []
    more = 0
    for number, each in enumerate(body[:MAX_ALERTS]):
        try:
            alert = OutsideAlert.model_validate(each)
        except ValidationError as error:
            if len(faults) < _MAX_FAULTS:
                faults += faults_of(error.errors(include_url=False), number)
            else:
                more += error.error_count()
            continue
        found.append(alert)
    more += max(0, len(faults) - _MAX_FAULTS)
    if more:
        further = Fault(field="", problem=f"and {more} further faults")
        faults = [*faults[:_MAX_FAULTS], further]
    if len(body) > MAX_ALERTS:
        problem = f"of {len(body)} alerts the first {MAX_ALERTS} are read: send fewer at once"
        faults.append(Fault(field="", problem=problem))
    return found, faults


def readable_webhook(body: object, now: datetime) -> tuple[list[OutsideAlert], list[Fault]]:
    """Return the alerts of a webhook, in Alertmanager's form or another monitor's, and the faults.

    Args:
        body: what came.
        now: when it came.
    """
    if not isinstance(body, dict):
        problem = f"must be an object, as {_EXAMPLE}; /api/v2/alerts takes a list"
        return [], [Fault(field="", problem=problem)]
    if "alerts" not in body:
        foreign = foreign_alerts(body, now)
        if foreign is not None:
            return readable(foreign)
        if "SubscribeURL" in body:
            problem = "is not visited from here: open it yourself to confirm the subscription"
            return [], [Fault(field="SubscribeURL", problem=problem)]
        problem = f"is missing, and this is no other webhook known here; send {_EXAMPLE}"
        return [], [Fault(field="alerts", problem=problem)]
    if str(body.get("version", "4")) not in _VERSIONS:
        return [], [Fault(field="version", problem="only version 4 is understood")]
    found, faults = readable(body["alerts"])
    if str(body.get("status", "")).lower() == "resolved":
        # An alert without a state of its own would last for ever, because it is not repeated.
        found = [
            alert if alert.status or alert.ends else changed(alert, status="resolved")
            for alert in found
        ]
    return found, faults


def truncated(body: object) -> int:
    """Return how many alerts the sender of a webhook says that it left out."""
    number = body.get("truncatedAlerts") if isinstance(body, dict) else None
    return min(max(number, 0), _MAX_TRUNCATED) if type(number) is int else 0
