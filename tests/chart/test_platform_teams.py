"""What platform teams put around a chart: metadata, authorities, sidecars, routes, versions."""

from __future__ import annotations

import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.task.settings import TaskSettings
from tests.chart.helm import ChartError
from tests.chart.rendering import CHART, Manifest, containers, named, pods, render

SERVICES = ("client", "task", "autospec", "detector", "predictor", "healer")
# The oldest that the chart allows, and the newest it is tried with.
VERSIONS = [f"1.{minor}.0" for minor in range(31, 36)]
# The API groups of operators, whose kinds are in no release of Kubernetes.
_OPERATORS = ("monitoring.coreos.com/", "keda.sh/", "gateway.networking.k8s.io/")
_CONNECTED = {
    "BAROGRAPH_BROKER_URL",
    "BAROGRAPH_STORE_URL",
    "BAROGRAPH_S3_ACCESS_KEY",
    "BROKER_URL",
}


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    return render("everything")


def test_common_labels_and_annotations_are_on_every_object(everything: list[Manifest]) -> None:
    assert len(everything) > 50
    for manifest in everything:
        metadata = manifest["metadata"]
        name = (manifest["kind"], metadata["name"])
        assert (name, metadata["labels"].get("cost-centre")) == (name, "42")
        annotations = metadata.get("annotations", {})
        assert (name, annotations.get("example.com/owner")) == (name, "platform")


def test_common_metadata_is_on_the_quickstarts_objects_too() -> None:
    values = {"commonLabels": {"a": "b"}, "commonAnnotations": {"c": "d"}}
    for manifest in render("quickstart", values):
        assert manifest["metadata"]["labels"]["a"] == "b"
        assert manifest["metadata"]["annotations"]["c"] == "d"


def test_what_is_given_for_one_service_is_its_own(everything: list[Manifest]) -> None:
    client = named(everything, "Deployment", "client")["spec"]["template"]["spec"]
    (own, sidecar) = client["containers"]
    assert (own["name"], sidecar["name"]) == ("client", "ship")
    assert client["initContainers"][0]["name"] == "wait"
    assert {"name": "branding", "mountPath": "/etc/branding", "readOnly": True} in own[
        "volumeMounts"
    ]
    assert {"configMapRef": {"name": "client-more"}} in own["envFrom"]
    account = named(everything, "ServiceAccount", "client")["metadata"]["annotations"]
    assert account["example.com/role"] == "barograph-client"
    task = named(everything, "Deployment", "task")["spec"]["template"]["spec"]
    assert [each["name"] for each in task["containers"]] == ["task"]
    assert "branding" not in json.dumps(task)


def test_what_is_given_for_all_pods_reaches_every_service(everything: list[Manifest]) -> None:
    variable = {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}
    for service in (*SERVICES, "gateway", "agent"):
        (found,) = [
            each
            for _, pod in pods(everything)
            for each in pod["containers"]
            if each["name"] == service
        ]
        assert variable in found["env"]


def test_every_container_that_connects_knows_ones_own_authorities(
    everything: list[Manifest],
) -> None:
    found = 0
    for _, pod in pods(everything):
        volumes = {each["name"] for each in pod.get("volumes", [])}
        for container in containers(pod):
            variables = {each["name"]: each for each in container.get("env", [])}
            if not _CONNECTED & {*variables}:
                continue
            found += 1
            assert variables["BAROGRAPH_CA_FILE"]["value"] == "/etc/barograph/trust/ca.crt"
            assert variables["PGSSLROOTCERT"]["value"] == "/etc/barograph/trust/ca.crt"
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            assert mounts["trust"] == "/etc/barograph/trust"
            assert "trust" in volumes
    assert found > 10
    made = [m for m in everything if m["metadata"]["name"].endswith("-trust")]
    namespaces = [m["metadata"]["namespace"] for m in made]
    assert namespaces == ["barograph", "training", "team-speech", "team-vision"]
    settings = named(everything, "ConfigMap", "task")["data"]
    assert settings["BAROGRAPH_TASK_TRUST_CONFIG_MAP"] == made[0]["metadata"]["name"]
    assert "trust_config_map" in TaskSettings.model_fields


def test_without_authorities_of_ones_own_nothing_speaks_of_them() -> None:
    text = yaml.safe_dump_all(render("external"))
    assert not re.search(r"BAROGRAPH_CA_FILE:|name: BAROGRAPH_CA_FILE|name: trust|/trust", text)


def test_page_gateway_and_healer_have_a_door_by_ingress_and_by_route(
    everything: list[Manifest],
) -> None:
    def ports(name: str) -> set[int]:
        return {each["port"] for each in named(everything, "Service", name)["spec"]["ports"]}

    routes = {m["spec"]["hostnames"][0]: m for m in everything if m["kind"] == "HTTPRoute"}
    assert {*routes} == {
        "barograph.example.org",
        "metrics.example.org",
        "healer.example.org",
    }
    for route in routes.values():
        assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
        (backend,) = route["spec"]["rules"][0]["backendRefs"]
        assert backend["port"] in ports(backend["name"].rpartition("-")[2])
    ingress = named(everything, "Ingress", "barograph")
    assert {rule["host"].partition(".")[0] for rule in ingress["spec"]["rules"]} == {
        "barograph",
        "metrics",
        "healer",
    }
    hosts = named(everything, "ConfigMap", "client")["data"]["BAROGRAPH_CLIENT_ALLOWED_HOSTS"]
    assert {"barograph.example.com", "barograph.example.org"} <= {*hosts.split(",")}


def test_autoscaling_without_keda_leaves_replicas_to_it_and_is_not_had_twice() -> None:
    made = render("external", {"hpa": {"enabled": True, "client": {"max": 7}}})
    scalers = {m["spec"]["scaleTargetRef"]["name"]: m["spec"] for m in made if _scales(m)}
    assert {name.rpartition("-")[2] for name in scalers} == {"client", "autospec", "detector"}
    assert scalers["demo-barograph-client"]["maxReplicas"] == 7
    for name, spec in scalers.items():
        workload = named(made, spec["scaleTargetRef"]["kind"], name.rpartition("-")[2])
        assert "replicas" not in workload["spec"]
    with pytest.raises(ChartError, match="choose one"):
        render("external", {"hpa": {"enabled": True}, "keda": {"enabled": True}})


def _scales(manifest: Manifest) -> bool:
    return bool(manifest["kind"] == "HorizontalPodAutoscaler")


REFUSED: dict[str, Any] = {
    "httpRoute.parentRefs": {"httpRoute": {"enabled": True}},
    "give one of them": {
        "trust": {"certificates": "-----BEGIN CERTIFICATE-----", "configMap": "ours"}
    },
    "trust": {"trust": {"certificates": "-----BEGIN PRIVATE KEY-----"}},
    "extraEnv": {"client": {"pods": {"extraEnv": [{"value": "x"}]}}},
}


@pytest.mark.parametrize("told", REFUSED)
def test_values_that_cannot_work_are_refused(told: str) -> None:
    with pytest.raises(ChartError, match=told.replace(".", r"\.")):
        render("external", REFUSED[told])


def test_the_charts_list_of_images_is_what_its_defaults_run() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    listed = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    run = {c["image"] for _, pod in pods(render("quickstart")) for c in containers(pod)}
    program = yaml.safe_load((CHART / "values.yaml").read_text())["jobs"]["programImage"]
    ours = {image for image in run if "barograph-" in image}
    assert {each["image"] for each in listed} == (run - ours) | {program}


@pytest.mark.parametrize("scenario", ["everything", "quickstart"])
def test_every_object_fits_the_schemas_of_kubernetes(scenario: str) -> None:
    manifests = [m for m in render(scenario) if not m["apiVersion"].startswith(_OPERATORS)]
    manifests = [m for m in manifests if m["kind"] != "CustomResourceDefinition"]
    for version in VERSIONS:
        for manifest in manifests:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_every_service_sends_its_spans_where_it_is_told_and_the_agent_sends_none() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}
    values: dict[str, Any] = {
        "traces": {
            "url": "http://collector.observability:4318/v1/traces",
            "ratio": 0.25,
            "headersSecret": "collector",
        },
        "networkPolicy": {"traces": [peer]},
    }
    manifests = render("external", values)
    for service in SERVICES:
        told = named(manifests, "ConfigMap", service)["data"]
        assert told["BAROGRAPH_TRACES_URL"] == values["traces"]["url"]
        assert told["BAROGRAPH_TRACES_RATIO"] == "0.25"
        (own,) = [
            c for _, pod in pods(manifests) for c in pod["containers"] if c["name"] == service
        ]
        headers = {"secretKeyRef": {"name": "collector", "key": "headers"}}
        assert {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": headers} in own["env"]
        egress = named(manifests, "NetworkPolicy", service)["spec"]["egress"]
        assert {"ports": [{"port": 4318}], "to": [peer]} in egress
    assert "BAROGRAPH_TRACES_URL" not in named(manifests, "ConfigMap", "agent")["data"]
    assert "4318" not in json.dumps(render("external"))
