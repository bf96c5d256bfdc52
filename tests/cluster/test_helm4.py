"""Helm 4 beside Helm 3: the same manifests, and releases of the one that the other takes over."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml

from tests.chart.rendering import CHART, KUBERNETES, SCENARIOS, Manifest
from tests.cluster.kube import Kube

HELM_3, HELM_4 = "helm", "helm4"
RELEASE = "demo"


@pytest.fixture
def helm(kube: Kube) -> Callable[..., str]:
    """``helm(program, command, …)`` on one release, whose jobs' namespace is there."""
    if kube.plane is None:
        pytest.skip("both programs are built for a cluster of our own only")
    release, jobs = kube.new_namespace(), kube.new_namespace()
    values = kube.state / f"{release}.json"
    values.write_text(json.dumps({"jobs": {"namespace": jobs, "createNamespace": False}}))

    def run(program: str, command: str, *options: str, scenario: str = "external") -> str:
        arguments = [command, RELEASE, f"--namespace={release}"]
        if command in {"template", "install", "upgrade"}:
            arguments += [str(CHART), "--values", str(CHART / f"ci/{scenario}-values.yaml")]
            arguments += ["--values", str(values)]
        return kube.run(program, *arguments, *options)

    return run


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_render_the_same_manifests(helm: Callable[..., str], scenario: str) -> None:
    three, four = (
        helm(program, "template", "--kube-version", KUBERNETES, scenario=scenario)
        for program in (HELM_3, HELM_4)
    )
    assert _manifests(four) == _manifests(three)


def _manifests(text: str) -> list[Manifest]:
    """Every object; of Secrets the keys alone, for the quickstart's passwords are made anew."""
    found = [each for each in yaml.safe_load_all(text) if each]
    for each in found:
        if each["kind"] == "Secret":
            each |= {name: list(each.get(name) or {}) for name in ("data", "stringData")}
    return found


@pytest.mark.parametrize("installed_by", [HELM_3, HELM_4])
def test_a_release_of_either_is_upgraded_and_uninstalled_by_helm_4(
    helm: Callable[..., str], kube: Kube, installed_by: str
) -> None:
    # Nothing runs on these nodes: hooks, which are programs, would not end.
    helm(installed_by, "install", "--no-hooks")
    release = kube.namespaces[-2]
    assert _replicas(kube, release) == 1
    helm(HELM_4, "upgrade", "--no-hooks", "--set", "client.replicas=3")
    assert _replicas(kube, release) == 3
    # What a value took out goes, whoever had put it there.
    helm(HELM_4, "upgrade", "--no-hooks", "--set", "client.replicas=2,networkPolicy.enabled=false")
    assert _replicas(kube, release) == 2
    assert kube.get("networkpolicies", "-n", release)["items"] == []
    helm(HELM_4, "uninstall", "--no-hooks")
    kinds = "deployments,statefulsets,daemonsets,services,roles,rolebindings"
    assert kube.get(kinds, "-n", release)["items"] == []


def _replicas(kube: Kube, namespace: str) -> int:
    found = kube.get("deployments", "-n", namespace)["items"]
    (pages,) = [each for each in found if each["metadata"]["name"].endswith("-client")]
    return int(pages["spec"]["replicas"])
