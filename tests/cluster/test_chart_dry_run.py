"""The chart's scenarios, judged by a real API server: schema, defaults, admission."""

from __future__ import annotations

import pytest
import yaml
from kubernetes import client

from tests.chart.rendering import SCENARIOS, Manifest, render
from tests.cluster.kube import Kube

# The API groups of operators that a cluster may have; the tests' cluster has none.
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


def _group(manifest: Manifest) -> str:
    return manifest["apiVersion"].rpartition("/")[0]


def _scenario(name: str, release: str, jobs: str) -> list[Manifest]:
    values = {"jobs": {"namespace": jobs}}
    remediations = {"kubernetes": {"namespaces": [release]}}
    if name == "everything":
        values["healer"] = {"remediations": remediations}  # type: ignore[dict-item]
        values["tfjob"] = {"namespaces": [release]}  # type: ignore[dict-item]
    return render(name, values, "--namespace", release)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_api_server_takes_every_object_of_a_scenario(kube: Kube, scenario: str):
    release, jobs = kube.new_namespace(), kube.new_namespace()
    manifests = _scenario(scenario, release, jobs)
    known = [each for each in manifests if _group(each) not in _OPERATORS]
    assert {each["kind"] for each in manifests} - {each["kind"] for each in known} == (
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
    release, jobs = kube.new_namespace(enforced), kube.new_namespace()
    refused = {
        manifest["metadata"]["name"].rpartition("-")[2]
        for manifest in _scenario(scenario, release, jobs)
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
