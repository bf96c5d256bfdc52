"""Tests of who may do what in the cluster: no more than their work needs."""

from __future__ import annotations

import json

import pytest

from tests.chart.helm import ChartError
from tests.chart.rendering import NAMESPACE, SCENARIOS, Manifest, named, render

ROLES = {"Role", "ClusterRole"}
BINDINGS = {"RoleBinding", "ClusterRoleBinding"}


def rights(manifests: list[Manifest], account: str) -> dict[tuple[str, str], set[str]]:
    """(namespace or "", group/resource) to the verbs a service account has there."""
    found: dict[tuple[str, str], set[str]] = {}
    for binding in manifests:
        if binding["kind"] not in BINDINGS:
            continue
        if account not in {s["name"] for s in binding["subjects"]}:
            continue
        place = binding["metadata"].get("namespace", "")
        for rule in rules(manifests, binding["roleRef"], place):
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    key = (place, f"{group}/{resource}")
                    found.setdefault(key, set()).update(rule["verbs"])
    return found


def rules(manifests: list[Manifest], reference: Manifest, namespace: str) -> list[Manifest]:
    (role,) = [
        m
        for m in manifests
        if m["kind"] == reference["kind"]
        and m["metadata"]["name"] == reference["name"]
        and m["metadata"].get("namespace", "") == namespace
    ]
    granted: list[Manifest] = role["rules"]
    return granted


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_rule_has_a_wildcard(scenario: str) -> None:
    for role in (m for m in render(scenario) if m["kind"] in ROLES):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def _elsewhere(release: str, namespace: str) -> set[tuple[str, ...]]:
    """Kind, namespace and name of what a release has outside of its own namespace."""
    trust = {"certificates": "", "configMap": "ours"}
    projects = {"vision": {"createNamespace": False}}
    shared = {"namespace": "training", "projects": projects, "createNamespace": False}
    values = {"jobs": shared, "tfjob": {"installCRD": False}, "trust": trust}
    found = [
        (m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"])
        for m in render("everything", values, "--namespace", namespace, release=release)
        if m["metadata"].get("namespace") != namespace
    ]
    assert len(found) == len({*found})
    return {*found}


def test_two_releases_have_no_object_outside_of_their_namespaces_in_common() -> None:
    one = _elsewhere("a-barograph", "team")
    assert {kind for kind, _, _ in one} == {*ROLES, *BINDINGS, "NetworkPolicy", "ResourceQuota"}
    for release, namespace in (("barograph", "team-a"), ("a-barograph", "team-b")):
        assert not one & _elsewhere(release, namespace)


def test_a_namespace_that_is_named_twice_has_one_role() -> None:
    twice = {"kubernetes": {"namespaces": ["shop", "shop"], "deletePods": True}}
    made = render(values={"healer": {"remediations": twice}})
    roles = [m for m in made if m["kind"] == "Role" and m["metadata"]["namespace"] == "shop"]
    assert len(roles) == 1


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_binding_is_of_one_account_of_this_release(scenario: str) -> None:
    for binding in (m for m in render(scenario) if m["kind"] in BINDINGS):
        (subject,) = binding["subjects"]
        assert subject["kind"] == "ServiceAccount"
        assert subject["namespace"] == NAMESPACE


def test_the_task_service_has_what_a_job_is_made_of_and_only_where_jobs_run() -> None:
    jobs = "barograph-jobs"

    assert rights(render(), "demo-barograph-task") == {
        (jobs, "batch/jobs"): {"list", "watch", "create", "delete"},
        (jobs, "/pods"): {"list", "watch", "create", "patch", "delete"},
        (jobs, "/pods/status"): {"patch"},
        (jobs, "/secrets"): {"get", "create", "patch", "delete"},
        (jobs, "/services"): {"create"},
        (jobs, "/events"): {"list", "watch"},
        (jobs, "kueue.x-k8s.io/workloads"): {"list", "watch"},
        ("", "/nodes"): {"list", "watch"},
    }


def test_rights_for_claims_come_with_their_use() -> None:
    more = rights(render("everything"), "demo-barograph-task")

    claims = more["training", "resource.k8s.io/resourceclaimtemplates"]
    assert claims == {"create"}


@pytest.mark.parametrize(
    ("namespaces", "watched"), [([], {"barograph-jobs"}), (["a", "b", "a"], {"a", "b"})]
)
def test_rights_for_tfjobs_come_with_their_use_and_for_the_named_namespaces(
    namespaces: list[str], watched: set[str]
) -> None:
    values = {"tfjob": {"enabled": True, "namespaces": namespaces}}
    more = rights(render(values=values), "demo-barograph-task")
    before = rights(render(), "demo-barograph-task")

    assert {key: more[key] for key in more.keys() - before.keys()} == {
        (namespace, resource): verbs
        for namespace in watched
        for resource, verbs in (
            ("kubeflow.org/tfjobs", {"list", "watch", "delete"}),
            ("kubeflow.org/tfjobs/status", {"patch"}),
            ("/events", {"create"}),
        )
        if (namespace, resource) not in before
    }


def test_nobody_else_has_any_right() -> None:
    for service in ("client", "autospec", "detector", "predictor", "healer", "agent"):
        assert rights(render(), f"demo-barograph-{service}") == {}


def test_the_healer_has_what_its_flags_say() -> None:
    assert rights(render("everything"), "demo-barograph-healer") == {
        ("shop", "/pods"): {"get", "list", "delete"},
        ("shop", "/pods/eviction"): {"create"},
        ("shop", "/persistentvolumeclaims"): {"get", "patch"},
        ("shop", "apps/deployments"): {"get", "patch"},
        ("shop", "apps/statefulsets"): {"get", "patch"},
        ("shop", "apps/daemonsets"): {"get", "patch"},
        ("shop", "apps/deployments/scale"): {"get", "patch"},
        ("", "/nodes"): {"get", "patch"},
        ("", "/pods"): {"get", "list"},
        ("", "/pods/eviction"): {"create"},
    }


@pytest.mark.parametrize(
    ("flag", "granted"),
    [
        ("evictPods", {"/pods": {"get"}, "/pods/eviction": {"create"}}),
        (
            "rolloutRestart",
            {
                f"apps/{kind}": {"get", "patch"}
                for kind in ("deployments", "statefulsets", "daemonsets")
            },
        ),
        ("expandClaims", {"/persistentvolumeclaims": {"get", "patch"}}),
        ("cordonNodes", {"/nodes": {"get", "patch"}}),
    ],
)
def test_a_flag_of_the_healer_grants_its_remediation_and_nothing_else(
    flag: str, granted: dict[str, set[str]]
) -> None:
    values = {"healer": {"remediations": {"kubernetes": {"namespaces": ["shop"], flag: True}}}}
    found = rights(render(values=values), "demo-barograph-healer")
    assert {resource: verbs for (_, resource), verbs in found.items()} == granted


def test_uninstalling_may_stop_the_task_service_and_delete_jobs() -> None:
    manifests = render()
    assert rights(manifests, "demo-barograph-uninstall") == {
        (NAMESPACE, "apps/deployments/scale"): {"patch"},
        (NAMESPACE, "/pods"): {"list"},
        ("barograph-jobs", "batch/jobs"): {"list", "deletecollection"},
        ("barograph-jobs", "/pods"): {"list"},
    }
    (scale,) = [
        rule
        for m in manifests
        if m["kind"] == "Role" and m["metadata"]["name"].endswith("demo-barograph-uninstall")
        for rule in m["rules"]
        if "deployments/scale" in rule["resources"]
    ]
    assert scale["resourceNames"] == ["demo-barograph-task"]


def test_without_cluster_rights_there_is_no_cluster_role() -> None:
    kinds = {m["kind"] for m in render(values={"rbac": {"nodes": False}})}

    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    assert not {m["kind"] for m in render(values={"rbac": {"create": False}})} & (ROLES | BINDINGS)


def test_jobs_run_where_pods_must_be_restricted_and_nothing_of_ours_lies() -> None:
    manifests = render()
    (namespace,) = [m for m in manifests if m["kind"] == "Namespace"]
    secrets = [m for m in manifests if m["kind"] == "Secret"]

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert namespace["metadata"]["name"] not in {s["metadata"]["namespace"] for s in secrets}
    task = named(manifests, "ConfigMap", "task")["data"]
    assert task["BAROGRAPH_TASK_NAMESPACE"] == namespace["metadata"]["name"]


PROJECTS = {
    "vision": {"namespace": "team-vision", "createNamespace": True, "quota": {"pods": 5}},
    "speech": {"namespace": "team-speech"},
}


def test_a_project_has_its_namespace_with_the_rights_quota_and_policy_of_any_other() -> None:
    manifests = render(values={"jobs": {"projects": PROJECTS}})
    found = rights(manifests, "demo-barograph-task")
    of_home = {kind: verbs for (place, kind), verbs in found.items() if place == "barograph-jobs"}
    for namespace in ("team-vision", "team-speech"):
        assert {kind: v for (place, kind), v in found.items() if place == namespace} == of_home
    assert {place for place, _ in found} == {"", "barograph-jobs", "team-vision", "team-speech"}
    made = [m["metadata"]["name"] for m in manifests if m["kind"] == "Namespace"]
    assert made == ["barograph-jobs", "team-vision"]
    quotas = [m for m in manifests if m["kind"] == "ResourceQuota"]
    assert [(m["metadata"]["namespace"], m["spec"]["hard"]) for m in quotas] == [
        ("team-vision", {"pods": 5})
    ]
    policies = {
        m["metadata"]["namespace"]: m["spec"]
        for m in manifests
        if m["kind"] == "NetworkPolicy" and m["metadata"]["namespace"] != NAMESPACE
    }
    assert policies.keys() == {"barograph-jobs", "team-vision", "team-speech"}
    # What comes in comes from pods of the same namespace: no project reaches another's.
    assert all(each["ingress"] == [{"from": [{"podSelector": {}}]}] for each in policies.values())
    told = named(manifests, "ConfigMap", "task")["data"]["BAROGRAPH_TASK_PROJECT_NAMESPACES"]
    assert json.loads(told) == {"vision": "team-vision", "speech": "team-speech"}
    deleting = named(manifests, "Job", "uninstall")["spec"]["template"]["spec"]["containers"][0]
    (jobs,) = [each["value"] for each in deleting["env"] if each["name"] == "JOBS"]
    assert jobs == "barograph-jobs,team-speech,team-vision"


@pytest.mark.parametrize("taken", [NAMESPACE, "barograph-jobs", "team-vision"])
def test_no_two_projects_and_no_project_and_the_release_share_a_namespace(taken: str) -> None:
    projects = PROJECTS | {"speech": {"namespace": taken}}
    with pytest.raises(ChartError, match=f'"{taken}" is the release.s own, the jobs. or another'):
        render(values={"jobs": {"projects": projects}})
