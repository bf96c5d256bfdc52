"""Gateways as pods of their own: what moves to them, what stays, and how each grows."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from shared.observe import PARTITION_LAG
from tests.chart.helm import ChartError
from tests.chart.rendering import Manifest, named, render
from tests.chart.renew import settings_class, variables
from tests.chart.test_network import out, policies
from tests.chart.test_settings import environment

APART: Manifest = {"gateway": {"enabled": True}}
# What the API server lets nobody change in an object that exists.
_FIXED = {
    "StatefulSet": ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates"),
    "Deployment": ("selector",),
    "Service": ("clusterIP",),
}


@cache
def apart() -> list[Manifest]:
    return render("external", APART)


@pytest.mark.parametrize(("service", "role"), [("gateway", "gateway"), ("detector", "judge")])
def test_each_is_the_detector_in_one_role(
    service: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(apart(), service).items():
        monkeypatch.setenv(name, value)

    settings: Any = settings_class("detector").load("detector")

    assert settings.roles == (role,)
    kind = "Deployment" if service == "gateway" else "StatefulSet"
    pod = named(apart(), kind, service)["spec"]["template"]["spec"]
    assert re.fullmatch(r"barograph-detector:.+", pod["containers"][0]["image"])


def test_a_gateway_holds_no_key_of_the_object_store_and_a_judge_no_token_of_senders() -> None:
    gateway, judge = variables(apart(), "gateway"), variables(apart(), "detector")

    assert not [name for name in gateway if "S3" in name]
    assert "BAROGRAPH_DETECTOR_GATEWAY_TOKEN" in gateway
    assert not [name for name in judge if "GATEWAY" in name]
    found = policies(apart())
    assert out(found["gateway"]) == {5672}
    assert out(found["detector"]) == {5672, 443}
    assert found["gateway"]["ingress"] == [{"ports": [{"port": "http"}]}]
    assert "ingress" not in found["detector"], "nobody calls a judge"


@pytest.mark.parametrize(("values", "leads_to"), [({}, "detector"), (APART, "gateway")])
def test_senders_have_one_address_however_gateways_run(values: Manifest, leads_to: str) -> None:
    doors = {
        "ingress": {"enabled": True, "gatewayHost": "in.example"},
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public"}],
            "gatewayHost": "in.example",
        },
    }
    manifests = render("external", values | doors)
    service = named(manifests, "Service", "gateway")["spec"]
    assert service["selector"]["app.kubernetes.io/component"] == leads_to
    assert 9201 in {port["port"] for port in service["ports"]}
    route = named(manifests, "HTTPRoute", "gateway")["spec"]["rules"][0]
    assert route["backendRefs"] == [{"name": "demo-barograph-gateway", "port": 9201}]


def test_taking_gateways_out_changes_nothing_that_may_not_be_changed() -> None:
    together = {(m["kind"], m["metadata"]["name"]): m["spec"] for m in render() if "spec" in m}
    compared = 0
    for manifest in apart():
        before = together.get((manifest["kind"], manifest["metadata"]["name"]))
        if before is None or manifest["metadata"]["name"] == "demo-barograph-gateway":
            continue
        for field in _FIXED.get(manifest["kind"], ()):
            assert before.get(field) == manifest["spec"].get(field), manifest["metadata"]["name"]
            compared += 1
    assert compared > 10


def test_gateways_survive_a_drained_node_and_are_spread() -> None:
    budget = named(apart(), "PodDisruptionBudget", "gateway")["spec"]
    pod = named(apart(), "Deployment", "gateway")["spec"]["template"]

    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_without_keda_both_grow_by_processor_and_judges_not_beyond_the_streams() -> None:
    values = APART | {"hpa": {"enabled": True, "detector": {"max": 40}}, "metricPartitions": 16}
    manifests = render("external", values)

    gateway = named(manifests, "HorizontalPodAutoscaler", "gateway")["spec"]
    judge = named(manifests, "HorizontalPodAutoscaler", "detector")["spec"]

    assert (gateway["maxReplicas"], judge["maxReplicas"]) == (8, 16)
    for name, spec in (("gateway", gateway), ("detector", judge)):
        (metric,) = spec["metrics"]
        assert metric["containerResource"]["container"] == name
        workload = named(manifests, spec["scaleTargetRef"]["kind"], name)
        assert "replicas" not in workload["spec"]
    assert judge["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert "behavior" not in gateway, "who owns no stream moves none"


def test_without_keda_judges_grow_by_how_late_their_streams_are_where_an_adapter_says_so() -> None:
    values = APART | {"hpa": {"enabled": True, "detector": {"lagSeconds": 20}}}
    spec = named(render("external", values), "HorizontalPodAutoscaler", "detector")["spec"]
    (_, by_lag) = spec["metrics"]
    assert by_lag["external"]["metric"] == {
        "name": PARTITION_LAG._name,
        "selector": {"matchLabels": {"namespace": "barograph", "job": "detector"}},
    }
    assert by_lag["external"]["target"] == {"type": "Value", "value": "20"}


def test_with_keda_judges_grow_by_how_late_their_streams_are() -> None:
    values = APART | {"keda": {"enabled": True, "prometheus": "http://prometheus.example:9090"}}
    manifests = render("external", values)
    triggers = {
        name: {t["type"]: t for t in named(manifests, "ScaledObject", name)["spec"]["triggers"]}
        for name in ("gateway", "detector")
    }

    assert {*triggers["gateway"]} == {"rabbitmq", "cpu"}
    assert {*triggers["detector"]} == {"prometheus", "cpu"}
    query = triggers["detector"]["prometheus"]["metadata"]["query"]
    assert f"{PARTITION_LAG._name}{{" in query
    assert 'job="detector"' in query
    alone = render("external", APART | {"keda": {"enabled": True}})
    spec = named(alone, "ScaledObject", "detector")["spec"]
    assert [trigger["type"] for trigger in spec["triggers"]] == ["cpu"]


@pytest.mark.parametrize("name", ["gateway_in_flight", "heartbeat_s"])
def test_a_setting_that_would_reach_no_gateway_is_refused(name: str) -> None:
    with pytest.raises(ChartError, match=r"give it in gateway\.settings"):
        render("external", APART | {"detector": {"settings": {name: 5}}})


def test_a_setting_of_judging_is_not_the_gateways() -> None:
    with pytest.raises(ChartError, match="/gateway/settings"):
        render("external", APART | {"gateway": {"enabled": True, "settings": {"engine": {}}}})
