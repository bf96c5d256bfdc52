"""Every pod the chart makes, hooks and tests too, is as confined as a pod can be."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest
import yaml

from tests.chart.rendering import CHART, SCENARIOS, Manifest, containers, named, pods, render

AGENT = "demo-barograph-agent"


@cache
def every_pod(scenario: str) -> list[tuple[str, Manifest]]:
    return list(pods(render(scenario)))


def own_containers(scenario: str, pod: Manifest) -> list[Manifest]:
    """The pod's containers that the chart makes, without those the values bring whole."""
    values = yaml.safe_load((CHART / f"ci/{scenario}-values.yaml").read_text())
    sections = [values, *(each for each in values.values() if isinstance(each, dict))]
    brought = [
        container
        for section in sections
        for place in ("initContainers", "sidecars")
        for container in section.get("pods", {}).get(place, [])
    ]
    return [each for each in containers(pod) if each not in brought]


def test_all_pods_are_looked_at() -> None:
    services = {"client", "task", "autospec", "detector", "predictor", "healer", "agent"}
    hooks = {"uninstall", "test"}
    expected = {
        "external": services | hooks | {"schema"},
        "everything": services | hooks | {"schema", "gateway"},
        "quickstart": services | hooks | {"rabbitmq", "seaweedfs", "postgresql"},
    }
    for scenario, names in expected.items():
        assert sorted(name for name, _ in every_pod(scenario)) == sorted(
            f"demo-barograph-{name}" for name in names
        )


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_containers_are_looked_at_but_those_the_values_bring(scenario: str) -> None:
    for name, pod in every_pod(scenario):
        component = name.removeprefix("demo-barograph-")
        kept = {each["name"] for each in own_containers(scenario, pod)}
        left_out = {each["name"] for each in containers(pod)} - kept

        assert kept >= ({"schema-task"} if component == "schema" else {component}), name
        brings = (scenario, component) == ("everything", "client")
        assert left_out == ({"wait", "ship"} if brings else set()), name


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_pod_is_confined(scenario: str) -> None:
    for name, pod in every_pod(scenario):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in own_containers(scenario, pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, container["name"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_only_the_node_agent_touches_the_node(scenario: str) -> None:
    for name, pod in every_pod(scenario):
        of_node = {
            v["name"]: v["hostPath"]["path"] for v in pod.get("volumes", []) if "hostPath" in v
        }
        shared = [key for key in ("hostPID", "hostNetwork", "hostIPC") if pod.get(key)]
        if name == AGENT and scenario == "everything":
            named_in_values = {"/var/log", "/srv", "/var/lib/barograph-agent"}
            assert set(of_node.values()) == named_in_values
            assert shared == ["hostPID", "hostNetwork"]
        else:
            assert of_node == {}
            assert shared == (["hostPID"] if name == AGENT else [])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_pod_gets_a_token_only_where_it_speaks_to_the_api_server(scenario: str) -> None:
    for name, pod in every_pod(scenario):
        speak = {"demo-barograph-task", "demo-barograph-uninstall"}
        if scenario == "everything":
            speak.add("demo-barograph-healer")  # its remediations were given rights there

        assert pod["automountServiceAccountToken"] is (name in speak), name


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_pod_gets_no_variables_of_services(scenario: str) -> None:
    for name, pod in every_pod(scenario):
        # BAROGRAPH_CLIENT_PORT=tcp://... would be an unknown setting, which stops a service.
        assert pod["enableServiceLinks"] is False, name


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_container_says_what_it_needs(scenario: str) -> None:
    for name, pod in every_pod(scenario):
        for container in own_containers(scenario, pod):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), container["name"]
            assert "memory" in container["resources"]["limits"], container["name"]
            mounted = [m["mountPath"] for m in container.get("volumeMounts", [])]
            assert len(mounted) == len(set(mounted)), name


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_runs_for_ever_is_probed(scenario: str) -> None:
    for name, pod in every_pod(scenario):
        if pod.get("restartPolicy") == "Never":
            continue
        own = own_containers(scenario, pod)
        for container in (each for each in own if each in pod["containers"]):
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
            declared = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                ways = container[probe]
                way = ways.get("httpGet") or ways["tcpSocket"]
                assert way["port"] in declared, name


@pytest.mark.parametrize("service", ["client", "detector"])
def test_who_is_called_by_http_serves_until_everybody_knows_it_goes(service: str) -> None:
    kind = "Deployment" if service == "client" else "StatefulSet"
    pod = named(render(), kind, service)["spec"]["template"]["spec"]

    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert 0 < pause < pod["terminationGracePeriodSeconds"]


def test_services_that_may_run_twice_never_have_fewer_than_before_while_they_roll() -> None:
    for service in ("client", "autospec", "task", "healer", "gateway"):
        strategy = named(render("everything"), "Deployment", service)["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_one_replica_of_what_acts_alone_ends_before_the_next_begins() -> None:
    for service in ("task", "healer"):
        spec = named(render("external"), "Deployment", service)["spec"]
        assert spec["replicas"] == 1
        assert spec["strategy"] == {"type": "Recreate"}


def test_owners_of_partitions_have_names_that_stay() -> None:
    for service in ("detector", "predictor"):
        spec = named(render("everything"), "StatefulSet", service)["spec"]
        assert spec["serviceName"] == f"demo-barograph-{service}"
        assert spec["updateStrategy"] == {"type": "RollingUpdate"}


def test_disruptions_spare_all_replicas_but_one() -> None:
    budgets = [m for m in render("everything") if m["kind"] == "PodDisruptionBudget"]

    assert {b["metadata"]["name"].rpartition("-")[2] for b in budgets} == {
        "autospec",
        "client",
        "detector",
        "gateway",
        "healer",
        "predictor",
        "task",
    }
    assert {b["spec"]["maxUnavailable"] for b in budgets} == {1}
    assert not [m for m in render("external") if m["kind"] == "PodDisruptionBudget"], (
        "with one replica it could only keep a node from being drained"
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_runs_before_an_install_needs_nothing_that_the_install_makes(scenario: str) -> None:
    manifests = render(scenario)
    made = {
        (m["kind"], m["metadata"]["name"])
        for m in manifests
        if "helm.sh/hook" not in m["metadata"].get("annotations", {})
    }
    for manifest in manifests:
        if "pre-install" not in manifest["metadata"].get("annotations", {}).get("helm.sh/hook", ""):
            continue
        text = json.dumps(manifest)
        kinds = {"ConfigMap": "configMap|configMapKeyRef|configMapRef", "Secret": "secret\\w*"}
        for kind, fields in kinds.items():
            pattern = rf'"(?:{fields})": {{[^{{}}]*"(?:name|secretName)": "([^"]+)"'
            needed = {(kind, name) for name in re.findall(pattern, text)}
            assert not needed & made, f"{manifest['metadata']['name']} waits for it for ever"
