"""The chart's scenarios, judged by a real API server: schema, defaults, admission."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from kubernetes import client

from tests.chart.rendering import SCENARIOS, Manifest, render
from tests.cluster.kube import Kube
from tests.waiting import eventually

# The API groups of operators that a cluster may have.
_OPERATORS = {"monitoring.coreos.com", "keda.sh", "gateway.networking.k8s.io"}

# Classes that the scenarios name, and a cluster must have.
_PRIORITIES = ("platform", "training")


def _priority(name: str) -> Manifest:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": 1000,
    }


@pytest.fixture(scope="module")
def operators(kube_server: Kube) -> Iterator[set[str]]:
    """The API groups of operators that the cluster serves; ours gets all that the chart uses."""
    if kube_server.plane is None:
        yield _served(kube_server) & _OPERATORS
        return
    kinds = str(kube_server.plane.network.program("kinds"))
    # They are too large for the annotation that an apply of the client's would leave.
    kube_server.kubectl("apply", "--server-side", "-f", kinds)
    eventually(lambda: _served(kube_server) >= _OPERATORS, "the operators' groups")
    yield _OPERATORS
    kube_server.kubectl("delete", "-f", kinds)


def _served(kube: Kube) -> set[str]:
    return {version.partition("/")[0] for version in kube.kubectl("api-versions").split()}


def _group(manifest: Manifest) -> str:
    return manifest["apiVersion"].rpartition("/")[0]


def _scenario(kube: Kube, name: str, release: str) -> list[Manifest]:
    """The scenario's objects, in namespaces that are there."""
    values: Manifest = {"jobs": {"namespace": kube.new_namespace()}}
    if name == "everything":
        values["healer"] = {"remediations": {"kubernetes": {"namespaces": [release]}}}
        values["tfjob"] = {"namespaces": [release]}
        values["jobs"]["projects"] = {
            project: {"namespace": kube.new_namespace()} for project in ("vision", "speech")
        }
    return render(name, values, "--namespace", release)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_api_server_takes_every_object_of_a_scenario(
    kube: Kube, operators: set[str], scenario: str
):
    release = kube.new_namespace()
    manifests = _scenario(kube, scenario, release)
    known = [each for each in manifests if _group(each) not in _OPERATORS - operators]
    of_operators = {each["kind"] for each in manifests if _group(each) in _OPERATORS}
    assert of_operators == (
        {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}
        if scenario == "everything"
        else set()
    )
    kube.apply(*(_priority(name) for name in _PRIORITIES))
    said = kube.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
        stdin=yaml.safe_dump_all(known),
    )
    assert said.count("(server dry run)") == len(known)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pod_security_lets_every_pod_run_restricted_but_the_node_agent(kube: Kube, scenario: str):
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    release = kube.new_namespace(enforced)
    refused = {
        manifest["metadata"]["name"].rpartition("-")[2]
        for manifest in _scenario(kube, scenario, release)
        if (pod := _pod(manifest)) is not None and _is_insecure(kube, release, pod)
    }
    assert refused == {"agent"}


def _is_insecure(kube: Kube, namespace: str, pod: Manifest) -> bool:
    try:
        kube.core.create_namespaced_pod(namespace, pod, dry_run="All")
    except client.ApiException as error:
        if "violates PodSecurity" not in str(error):
            raise
        return True
    return False


def _pod(manifest: Manifest) -> Manifest | None:
    """The pod that a manifest is or makes, as its controller would make it."""
    made = manifest if manifest["kind"] == "Pod" else manifest.get("spec", {}).get("template")
    if made is None:
        return None
    # It is not admitted without its account and class; whose they are says nothing here.
    spec = {**made["spec"], "serviceAccountName": "default"}
    spec.pop("priorityClassName", None)
    claims = manifest["spec"].get("volumeClaimTemplates", [])
    volumes = [{"name": each["metadata"]["name"], "emptyDir": {}} for each in claims]
    spec["volumes"] = [*spec.get("volumes", []), *volumes]
    return {"metadata": {"name": manifest["metadata"]["name"]}, "spec": spec}
