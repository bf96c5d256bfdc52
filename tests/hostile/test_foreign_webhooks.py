"""Webhooks of other monitors: what they document is taken, the rest is told what to send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.healer.incidents.alert_bodies import readable_webhook
from services.healer.incidents.alertmanager_alerts import Outside, understood
from shared.contracts.alerts import SeriesRef, Severity

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def taken(body: Any) -> Outside:
    (alert,), faults = readable_webhook(body, NOW)
    assert faults == []
    return understood(alert, NOW, None)


def kuma(status: int) -> dict[str, Any]:
    return {
        "heartbeat": {"monitorID": 10, "status": status, "msg": "timeout", "important": True},
        "monitor": {"id": 10, "name": "Shop", "url": "https://", "hostname": "web1", "port": None},
        "msg": "[Shop] [Down] timeout",
    }


def grafana_8(state: str, *matches: Any) -> dict[str, Any]:
    return {
        "title": f"[{state}] CPU",
        "ruleId": 129,
        "ruleName": "CPU",
        "state": state,
        "evalMatches": list(matches),
        "message": "too busy",
        "tags": {"host": "web1", "severity": "critical"},
    }


def cloudwatch(state: str) -> dict[str, Any]:
    alarm = {
        "AlarmName": "cpu-high",
        "NewStateValue": state,
        "NewStateReason": "Threshold crossed",
        "Region": "EU (Frankfurt)",
        "Trigger": {"Dimensions": [{"name": "InstanceId", "value": "i-0abc"}]},
    }
    return {"Type": "Notification", "TopicArn": "arn:x", "Message": json.dumps(alarm)}


def azure(condition: str) -> dict[str, Any]:
    facts = {
        "alertRule": "cpu",
        "severity": "Sev1",
        "monitorCondition": condition,
        "configurationItems": ["web1"],
        "firedDateTime": "2026-01-02T03:00:00.1234567Z",
        "description": "busy",
    }
    return {"schemaId": "azureMonitorCommonAlertSchema", "data": {"essentials": facts}}


def google(state: str) -> dict[str, Any]:
    incident = {
        "policy_name": "cpu",
        "state": state,
        "summary": "busy",
        "started_at": 1767322800,
        "resource_name": "web1",
        "resource": {"type": "gce_instance", "labels": {"zone": "a"}},
    }
    return {"version": "1.2", "incident": incident}


def datadog(state: str) -> dict[str, Any]:
    title = f"[{state} on {{host:web1,env:prod}}] CPU is high"
    return {"title": title, "body": "text", "event_type": "query_alert_monitor", "id": "5"}


BODIES = [
    (kuma(0), kuma(1), "web1", "Shop"),
    (grafana_8("alerting", {"metric": "a", "value": 95}), grafana_8("ok"), "web1", "CPU"),
    (cloudwatch("ALARM"), cloudwatch("OK"), "i-0abc", "cpu-high"),
    (azure("Fired"), azure("Resolved"), "web1", "cpu"),
    (google("open"), google("closed"), "web1", "cpu"),
    (datadog("Triggered"), datadog("Recovered"), "web1", "CPU_is_high"),
    (datadog("Re-Triggered"), datadog("Recovered"), "web1", "CPU_is_high"),
]


@pytest.mark.parametrize(("begins", "ends", "host", "item"), BODIES)
def test_a_documented_webhook_opens_an_alert_and_ends_the_same(
    begins: dict[str, Any], ends: dict[str, Any], host: str, item: str
) -> None:
    opened, ended = taken(begins), taken(ends)
    assert (opened.series.host, opened.series.item) == (host, item)
    assert (opened.over, ended.over) == (False, True)
    assert ended.series == opened.series


def test_what_a_monitor_says_of_it_is_kept() -> None:
    found = taken(grafana_8("alerting", {"metric": "a", "value": 95}))
    assert (found.observation.value, found.observation.sentence) == (95, "too busy")
    assert found.signal.severity is Severity.CRITICAL


def test_a_message_that_nobody_ends_is_an_information_for_a_day() -> None:
    body = {"heartbeat": None, "monitor": None, "msg": "certificate expires in 7 days"}
    found = taken(body)
    assert found.observation.sentence == "certificate expires in 7 days"
    assert found.signal.severity is Severity.INFO
    assert found.signal.expires == NOW + timedelta(days=1)


@pytest.mark.parametrize("body", [{}, {"event": "x"}, {"labels": {"a": "b"}}, {"text": "down"}])
def test_a_body_that_nobody_knows_is_told_what_to_send(body: dict[str, Any]) -> None:
    found, (fault,) = readable_webhook(body, NOW)
    assert found == []
    assert '"labels": {"alertname": "DiskFull"' in fault.problem


def test_a_subscription_is_not_confirmed_from_here() -> None:
    asks = {"Type": "SubscriptionConfirmation", "TopicArn": "x", "Message": "m"}
    found, (fault,) = readable_webhook(asks | {"SubscribeURL": "http://169.254.169.254/"}, NOW)
    assert found == []
    assert "yourself" in fault.problem


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A known body in which some field, at any depth, is something else."""
    body = json.loads(json.dumps(draw(st.sampled_from(BODIES))[draw(st.integers(0, 1))]))
    place = body
    while True:
        name = draw(st.sampled_from(sorted(place)))
        if isinstance(place[name], dict) and place[name] and draw(st.booleans()):
            place = place[name]
            continue
        place[name] = draw(anything)
        return dict(body)


@given(damaged())
@settings(max_examples=400, deadline=None)
def test_a_damaged_body_gives_alerts_that_events_can_carry_or_faults(body: dict[str, Any]) -> None:
    found, faults = readable_webhook(body, NOW)
    assert found or faults
    for alert in found:
        series = understood(alert, NOW, None).series
        assert SeriesRef.model_validate(series.model_dump()) == series
