"""Converts webhooks of other monitors, in their documented forms, to Alertmanager's alerts.

Each form has its own marks by which it is recognised, and one function. What a body lacks or has
in another form is left out; whether an alert can be made of the rest is decided where all are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Alert = dict[str, Any]
Body = Mapping[str, Any]

_NOTICE_LASTS = timedelta(days=1)
"""The lifetime of an alert from a message whose sender reports no end."""
_TRANSITION = re.compile(
    r"\[(?:Re-)?(?P<state>[A-Za-z ]{1,40}?)(?: on \{(?P<group>[^{}]*)\})?\]\s*(?P<name>.*)"
)
"""Datadog's titles: ``[Triggered on {host:web1}] CPU is high``."""
_ENDED = {"ok", "paused", "recovered", "resolved", "closed", "success"}
_KUMA_DOWN = 0


def foreign_alerts(body: Body, now: datetime) -> list[Alert] | None:
    """The alerts of a body in a known form; None for any other body."""
    if "SubscribeURL" in body:
        return None  # Amazon SNS asks whether it may send: that is no alert
    for marks, read in _FORMS.items():
        if all(mark in body for mark in marks):
            return [_without_gaps(alert) for alert in read(body, now)]
    return None


def _at(value: Any, *path: str) -> Any:
    """The value at a path of nested mappings, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _plain(value: Any) -> str:
    """A text or a number as text; empty for anything else."""
    return str(value) if isinstance(value, str | int | float) and value is not True else ""


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings in a list, and none for other values."""
    found = value if isinstance(value, list) else []
    return [each for each in found if isinstance(each, Mapping)]


def _without_gaps(alert: Alert) -> Alert:
    labels = {name: _plain(value) for name, value in alert["labels"].items() if _plain(value)}
    return alert | {"labels": {"alertname": "alert", **labels}}


def _ended(word: Any) -> str:
    return "resolved" if str(word).lower() in _ENDED else "firing"


def _moment(seconds: Any) -> str | None:
    """A Unix time in Alertmanager's format, or None if it is invalid."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _notice(labels: Alert, text: str, now: datetime) -> Alert:
    """An alert from a message whose sender will not report an end."""
    return {
        "labels": {"severity": "info", **labels},
        "annotations": {"summary": text},
        "endsAt": (now + _NOTICE_LASTS).isoformat(),
    }


def _grafana_legacy(body: Body, now: datetime) -> list[Alert]:
    """Grafana up to 8. The matches are not said at the end: they do not belong to its name."""
    del now
    tags = body.get("tags")
    matches = _mappings(body.get("evalMatches"))
    seen = ", ".join(f"{_plain(m.get('metric'))} {_plain(m.get('value'))}" for m in matches[:20])
    annotations = {
        "summary": _plain(body.get("message")) or _plain(body.get("title")),
        "description": seen,
        "value": _plain(matches[0].get("value")) if matches else "",
    }
    labels = {**(tags if isinstance(tags, Mapping) else {}), "rule_id": body.get("ruleId")}
    labels["alertname"] = body.get("ruleName")
    return [{"labels": labels, "annotations": annotations, "status": _ended(body.get("state"))}]


def _uptime_kuma(body: Body, now: datetime) -> list[Alert]:
    monitor, beat = body.get("monitor"), body.get("heartbeat")
    text = _plain(body.get("msg"))
    if not isinstance(monitor, Mapping) or not isinstance(beat, Mapping):
        return [_notice({"alertname": "Uptime Kuma", "message": text[:200]}, text, now)]
    url = _plain(monitor.get("url"))
    labels = {
        "alertname": monitor.get("name"),
        "monitor_id": monitor.get("id"),
        "host": monitor.get("hostname"),
        "instance": url if url.partition("://")[2] else "",
        "severity": "critical",
    }
    status = "firing" if beat.get("status") == _KUMA_DOWN else "resolved"
    return [{"labels": labels, "annotations": {"summary": text}, "status": status}]


def _cloudwatch(body: Body, now: datetime) -> list[Alert]:
    """A notification of Amazon SNS, mostly with an alarm of CloudWatch in its message."""
    text = _plain(body.get("Message"))
    try:
        alarm = json.loads(text)
    except (ValueError, RecursionError):
        alarm = None
    if _at(alarm, "AlarmName") is None:
        subject = _plain(body.get("Subject")) or "Amazon SNS"
        return [_notice({"alertname": subject, "topic": body.get("TopicArn")}, text, now)]
    named = {
        _plain(each.get("name")): each.get("value")
        for each in _mappings(_at(alarm, "Trigger", "Dimensions"))
    }
    labels = {
        **named,
        "alertname": alarm["AlarmName"],
        "host": named.get("InstanceId"),
        "region": alarm.get("Region"),
        "account": alarm.get("AWSAccountId"),
    }
    return [
        {
            "labels": labels,
            "annotations": {"summary": alarm.get("NewStateReason")},
            "status": _ended(alarm.get("NewStateValue")),
        }
    ]


def _azure(body: Body, now: datetime) -> list[Alert]:
    """Azure Monitor's common alert schema."""
    del now
    facts = _at(body, "data", "essentials")
    items = _at(facts, "configurationItems")
    labels = {
        "alertname": _at(facts, "alertRule"),
        "host": items[0] if isinstance(items, list) and items else "",
        "severity": _at(facts, "severity"),
        "alert_id": _at(facts, "originAlertId"),
    }
    return [
        {
            "labels": labels,
            "annotations": {"summary": _at(facts, "description")},
            "startsAt": _at(facts, "firedDateTime"),
            "status": _ended(_at(facts, "monitorCondition")),
        }
    ]


def _google(body: Body, now: datetime) -> list[Alert]:
    """An incident of Google Cloud Monitoring."""
    del now
    incident = body.get("incident")
    resource = _at(incident, "resource", "labels")
    labels = {
        **(resource if isinstance(resource, Mapping) else {}),
        "alertname": _at(incident, "policy_name") or _at(incident, "condition_name"),
        "condition": _at(incident, "condition_name"),
        "host": _at(incident, "resource_name"),
        "severity": _at(incident, "severity"),
    }
    return [
        {
            "labels": labels,
            "annotations": {"summary": _at(incident, "summary")},
            "startsAt": _moment(_at(incident, "started_at")),
            "status": _ended(_at(incident, "state")),
        }
    ]


def _datadog(body: Body, now: datetime) -> list[Alert]:
    """Datadog's own payload: the state and the group of a monitor are only in its title."""
    title, text = _plain(body.get("title")), _plain(body.get("body"))
    found = _TRANSITION.match(title)
    if found is None:
        return [_notice({"alertname": title or "Datadog", "id": body.get("id")}, text, now)]
    tags = [tag.partition(":") for tag in (found["group"] or "").split(",")]
    labels = {name.strip(): value.strip() for name, _, value in tags if name.strip()}
    state = found["state"].lower()
    return [
        {
            "labels": {**labels, "alertname": found["name"]},
            "annotations": {"summary": found["name"], "description": text},
            "status": _ended(state),
        }
    ]


_FORMS: dict[tuple[str, ...], Callable[[Body, datetime], list[Alert]]] = {
    ("ruleName", "state"): _grafana_legacy,
    ("monitor", "heartbeat"): _uptime_kuma,
    ("Type", "Message", "TopicArn"): _cloudwatch,
    ("schemaId", "data"): _azure,
    ("incident",): _google,
    ("title", "body", "event_type"): _datadog,
}
"""The fields that each form always has, with its reader."""
