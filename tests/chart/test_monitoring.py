"""Alert rules, dashboards and scaling: of metrics and queues that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import shared.observe
from shared import topology
from shared.topology import Principal
from tests.chart.rendering import CHART, Manifest, named, render

DASHBOARDS = sorted(CHART.glob("files/dashboards/*.json"))


def metric_names() -> set[str]:
    """Every series a service exports, as Prometheus sees it."""
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {
        f"{family.name}{suffix}"
        for family in REGISTRY.collect()
        for suffix in suffixes.get(family.type, [""])
    }


def used(expression: str) -> set[str]:
    return set(re.findall(r"barograph_\w+", expression.replace("barograph-", "")))


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [m for m in manifests if m["kind"] == kind]
    return found


def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    rule = one(render("everything"), "PrometheusRule")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))

    done = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


_STANDS_STILL = {
    "BarographNoProgress": 'barograph_no_progress{namespace="N", job="task", part="queue jobs"}',
    "BarographSetAside": 'barograph_set_aside_total{namespace="N", job="task", queue="outbox"}',
    "BarographOutboxSetAside": 'barograph_outbox_set_aside_messages{namespace="N", job="task"}',
    "BarographConnectionsLost": (
        'barograph_broker_connections_lost_total{namespace="N", job="task", link="task-0-consume"}'
    ),
    "BarographPartitionsLate": (
        'barograph_partition_lag_seconds{namespace="N", job="detector", partition="0"}'
    ),
}
"""What is exported when something stands still or is set aside, by the rule that fires on it."""


def test_rules_fire_on_what_stands_still_or_was_set_aside_and_on_nothing_else(
    tmp_path: Path,
) -> None:
    rule = one(render("everything"), "PrometheusRule")
    namespace = rule["metadata"]["namespace"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    cases = []
    for alert, series in _STANDS_STILL.items():
        values = {"bad": "0+100x120", "good": "0x120"}
        for state, exported in values.items():
            text = series.replace('"N"', f'"{namespace}"')
            labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
            del labels["namespace"]
            severity = _severity(rule, alert)
            fired = [{"exp_labels": labels | {"severity": severity}}] if state == "bad" else []
            check = {"eval_time": "90m", "alertname": alert, "exp_alerts": fired}
            given = [{"series": text, "values": exported}]
            cases.append({"interval": "1m", "input_series": given, "alert_rule_test": [check]})
    for case in cases:
        for check in case["alert_rule_test"]:
            for expected in check["exp_alerts"]:
                expected["exp_annotations"] = _annotations(rule, check["alertname"], expected)
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": cases}))

    done = subprocess.run(
        ["promtool", "test", "rules", path], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def _severity(rule: Manifest, alert: str) -> str:
    return str(_rule(rule, alert)["labels"]["severity"])


def _rule(rule: Manifest, alert: str) -> dict[str, Any]:
    (found,) = [r for r in rule["spec"]["groups"][0]["rules"] if r["alert"] == alert]
    return dict(found)


def _annotations(rule: Manifest, alert: str, expected: dict[str, Any]) -> dict[str, str]:
    """The rule's annotations with the labels put in, as Prometheus does it."""
    return {
        name: re.sub(r"{{ \$labels\.(\w+) }}", lambda m: expected["exp_labels"][m[1]], text)
        for name, text in _rule(rule, alert)["annotations"].items()
    }


def test_rules_and_dashboards_ask_for_metrics_that_exist() -> None:
    manifests = render("everything")
    rules = one(manifests, "PrometheusRule")["spec"]["groups"][0]["rules"]
    asked = {name for rule in rules for name in used(rule["expr"])}
    dashboards = [
        json.loads(text)
        for m in manifests
        if m["kind"] == "ConfigMap" and "-dashboard-" in m["metadata"]["name"]
        for text in m["data"].values()
    ]
    for panel in (panel for each in dashboards for panel in each["panels"]):
        for target in panel["targets"]:
            asked |= used(target["expr"])
    for each in dashboards:
        for variable in each["templating"]["list"]:
            asked |= used(variable["query"])

    assert len(dashboards) == 3
    assert asked
    assert asked <= metric_names()


def lost(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    """The places of ``given`` that are missing or different in ``kept``."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            yield from lost(value, kept.get(name), f"{place}.{name}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (value, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(value, other, f"{place}.{number}")
    elif given != kept:
        yield place


def as_grafana_reads(dashboard: dict[str, Any]) -> Any:
    """A dashboard read into Grafana's own types, which leave out what they do not know."""
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafana_knows_everything_a_dashboard_says(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert [*lost(dashboard, as_grafana_reads(dashboard))] == []

    panel = dashboard["panels"][0]
    panel["fieldConfig"]["defaults"]["units"] = panel["fieldConfig"]["defaults"].pop("unit")
    panel["targets"][0]["legend"] = panel["targets"][0].pop("legendFormat")
    places = {*lost(dashboard, as_grafana_reads(dashboard))}
    assert ".panels.0.fieldConfig.defaults.units" in places
    assert ".panels.0.targets.0.legend" in places


def test_rules_and_dashboards_group_and_select_by_labels_that_the_metrics_have() -> None:
    manifests = render("everything")
    rules = one(manifests, "PrometheusRule")["spec"]["groups"][0]["rules"]
    expressions = [rule["expr"] for rule in rules]
    for m in manifests:
        if m["kind"] == "ConfigMap" and "-dashboard-" in m["metadata"]["name"]:
            for text in m["data"].values():
                panels = json.loads(text)["panels"]
                expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    # Prometheus adds these to every series it scrapes.
    added = {"namespace", "job", "pod", "le"}
    own = {
        f"{metric._name}{suffix}": set(metric._labelnames)
        for metric in vars(shared.observe).values()
        if isinstance(metric, MetricWrapperBase)
        for suffix in ("", "_total", "_bucket")
    }
    checked = 0
    for expression in expressions:
        names = used(expression)
        known = added.union(*(own[name] for name in names))
        by = re.findall(r"by \(([^)]*)\)", expression)
        selected = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
        asked = {word.strip() for group in by for word in group.split(",")} | set(selected)
        assert asked <= known, expression
        checked += bool(names and asked - {"namespace"})
    assert checked > 10


def test_every_alert_says_what_to_do() -> None:
    rules = one(render("everything"), "PrometheusRule")["spec"]["groups"][0]["rules"]

    assert {rule["labels"]["severity"] for rule in rules} <= {"warning", "critical"}
    for rule in rules:
        assert rule["annotations"]["description"], rule["alert"]


def test_the_service_monitor_finds_all_services_and_no_server_of_the_quickstart() -> None:
    manifests = render("quickstart", {"monitoring": {"serviceMonitor": {"enabled": True}}})
    monitor = one(manifests, "ServiceMonitor")["spec"]
    (endpoint,) = monitor["endpoints"]
    scraped = {
        m["metadata"]["labels"]["app.kubernetes.io/component"]
        for m in manifests
        if m["kind"] == "Service"
        and monitor["selector"]["matchLabels"].items() <= m["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in m["spec"]["ports"]}
    }

    assert scraped == {
        "client",
        "task",
        "autospec",
        "detector",
        "predictor",
        "healer",
        "agent",
    }


def test_nothing_of_an_operator_is_made_unasked() -> None:
    assert {m["apiVersion"].partition("/")[0] for m in render()} == {
        "v1",
        "apps",
        "batch",
        "networking.k8s.io",
        "rbac.authorization.k8s.io",
    }


def test_scaling_looks_at_the_queues_the_service_consumes() -> None:
    manifests = render("everything")
    scaled = [m["spec"] for m in manifests if m["kind"] == "ScaledObject"]

    assert len(scaled) == 4
    for spec in scaled:
        service = spec["scaleTargetRef"]["name"].rpartition("-")[2]
        workload = named(manifests, spec["scaleTargetRef"]["kind"], service)
        queues = {t["metadata"]["queueName"] for t in spec["triggers"] if t["type"] == "rabbitmq"}
        # The queue of the detector's samples is consumed by its gateways, which are apart here.
        consumer = {"gateway": "detector", "detector": None}.get(service, service)
        subscribed = topology.subscriptions(Principal(consumer)).items() if consumer else ()
        # A replica's own queue is empty while nobody asks it, and says nothing of its work.
        work = {name for name, routes in subscribed if not topology.is_exclusive(name, routes)}
        assert queues == work
        assert "replicas" not in workload["spec"], "who scales it would be overruled"
