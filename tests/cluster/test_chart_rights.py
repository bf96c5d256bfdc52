"""Each service account of the chart may do what it needs and nothing more, says the API server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from tests.chart.rendering import Manifest, render
from tests.cluster.kube import Kube
from tests.waiting import eventually

_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
# The parts of a job, what would betray secrets or give rights, and what else a cluster has.
_RESOURCES = (
    ("batch", "jobs", ""),
    ("batch", "jobs", "status"),
    ("batch", "cronjobs", ""),
    ("", "pods", ""),
    ("", "pods", "status"),
    ("", "pods", "log"),
    ("", "pods", "exec"),
    ("", "pods", "eviction"),
    ("", "pods", "ephemeralcontainers"),
    ("", "secrets", ""),
    ("", "configmaps", ""),
    ("", "services", ""),
    ("", "events", ""),
    ("", "serviceaccounts", ""),
    ("", "serviceaccounts", "token"),
    ("", "namespaces", ""),
    ("", "nodes", ""),
    ("", "persistentvolumeclaims", ""),
    ("", "persistentvolumes", ""),
    ("apps", "deployments", ""),
    ("apps", "deployments", "scale"),
    ("apps", "statefulsets", ""),
    ("apps", "statefulsets", "scale"),
    ("apps", "daemonsets", ""),
    ("rbac.authorization.k8s.io", "roles", ""),
    ("rbac.authorization.k8s.io", "rolebindings", ""),
    ("rbac.authorization.k8s.io", "clusterrolebindings", ""),
    ("networking.k8s.io", "networkpolicies", ""),
    ("kueue.x-k8s.io", "workloads", ""),
    ("resource.k8s.io", "resourceclaimtemplates", ""),
    ("resource.k8s.io", "resourceclaims", ""),
    ("kubeflow.org", "tfjobs", ""),
    ("kubeflow.org", "tfjobs", "status"),
)
_TASK_IN_JOBS = {
    "jobs": "list watch create delete",
    "pods": "list watch create patch delete",
    "pods/status": "patch",
    "secrets": "get create patch delete",
    "services": "create",
    "events": "list watch",
    "workloads": "list watch",
}
_TASK_ANYWHERE = {"nodes": "list watch"}
_UNINSTALL_IN_JOBS = {"jobs": "list deletecollection", "pods": "list"}
_QUIET = ("client", "autospec", "detector", "predictor", "agent")


class Rights:
    """The objects of a scenario that give rights, applied; and what each account may then do."""

    def __init__(self, kube: Kube, scenario: str, values: Manifest) -> None:
        self.kube = kube
        self.release, self.jobs = kube.new_namespace(), kube.new_namespace()
        self.manifests = render(
            scenario, values | {"jobs": {"namespace": self.jobs}}, "--namespace", self.release
        )
        kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
        self.made = [each for each in self.manifests if each["kind"] in kinds]
        kube.apply(*self.made)

    def account(self, component: str) -> str:
        (name,) = (
            each["metadata"]["name"]
            for each in self.made
            if each["kind"] == "ServiceAccount"
            and each["metadata"]["name"].endswith(f"-{component}")
        )
        return str(name)

    def of(self, component: str, namespace: str) -> dict[str, set[str]]:
        """Verbs by resource that the account's own token is told it may use."""
        path = self.kube.service_account_kubeconfig(self.release, self.account(component))
        api = client.AuthorizationV1Api(self.kube.client_for(path))
        found: dict[str, set[str]] = {}
        for (group, resource, part), verb in itertools.product(_RESOURCES, _VERBS):
            asked = {"group": group, "resource": resource, "verb": verb, "namespace": namespace}
            review = {"spec": {"resourceAttributes": asked | {"subresource": part}}}
            if api.create_self_subject_access_review(review).status.allowed:
                found.setdefault(f"{resource}/{part}".rstrip("/"), set()).add(verb)
        return found

    def remove(self) -> None:
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            names = [each["metadata"]["name"] for each in self.made if each["kind"] == kind]
            if names:
                self.kube.kubectl("delete", kind, *names)


@pytest.fixture
def quickstart(kube: Kube) -> Iterator[Rights]:
    rights = Rights(kube, "quickstart", {})
    yield rights
    rights.remove()


def _verbs(table: dict[str, str]) -> dict[str, set[str]]:
    return {resource: set(verbs.split()) for resource, verbs in table.items()}


def test_the_task_service_handles_jobs_where_they_run_and_reads_nodes(quickstart: Rights):
    wanted = _verbs(_TASK_IN_JOBS | _TASK_ANYWHERE)
    assert eventually(lambda: _grown(quickstart, "task", quickstart.jobs), "its rights") == wanted
    assert quickstart.of("task", quickstart.release) == _verbs(_TASK_ANYWHERE)
    assert quickstart.of("task", "kube-system") == _verbs(_TASK_ANYWHERE)


def test_the_task_service_may_run_the_tfjobs_of_the_named_namespaces_and_no_others(kube: Kube):
    team, other = kube.new_namespace(), kube.new_namespace()
    rights = Rights(kube, "quickstart", {"tfjob": {"enabled": True, "namespaces": [team]}})
    try:
        tfjobs = {"tfjobs": "list watch delete", "tfjobs/status": "patch", "events": "create"}
        wanted = _verbs(tfjobs | _TASK_ANYWHERE)
        eventually(lambda: rights.of("task", team) == wanted, "its rights and no others")
        assert rights.of("task", other) == _verbs(_TASK_ANYWHERE)
    finally:
        rights.remove()


def test_services_that_need_no_cluster_may_do_nothing_in_it(quickstart: Rights):
    for component in (*_QUIET, "healer"):
        for namespace in (quickstart.release, quickstart.jobs):
            assert quickstart.of(component, namespace) == {}, component


def test_the_uninstall_job_stops_the_task_service_and_deletes_jobs(quickstart: Rights):
    eventually(lambda: _grown(quickstart, "uninstall", quickstart.jobs), "its rights")
    assert quickstart.of("uninstall", quickstart.jobs) == _verbs(_UNINSTALL_IN_JOBS)
    api = client.AuthorizationV1Api(
        quickstart.kube.client_for(
            quickstart.kube.service_account_kubeconfig(
                quickstart.release, quickstart.account("uninstall")
            )
        )
    )
    for name, allowed in (
        (quickstart.account("task"), True),
        (quickstart.account("client"), False),
    ):
        asked = {
            "group": "apps",
            "resource": "deployments",
            "subresource": "scale",
            "verb": "patch",
            "namespace": quickstart.release,
            "name": name,
        }
        review = api.create_self_subject_access_review({"spec": {"resourceAttributes": asked}})
        assert review.status.allowed is allowed, name


def test_the_healer_may_do_what_its_remediations_were_granted(kube: Kube):
    shop = kube.new_namespace()
    granted = {"namespaces": [shop], "deletePods": True, "scale": True, "cordonNodes": True}
    rights = Rights(kube, "quickstart", {"healer": {"remediations": {"kubernetes": granted}}})
    try:
        nodes = {"nodes": "get patch"}
        wanted: dict[str, Any] = {
            "pods": "get list delete",
            "deployments": "get",
            "deployments/scale": "get patch",
        }
        found = eventually(lambda: _grown(rights, "healer", shop), "its rights")
        assert found == _verbs(wanted | nodes)
        assert rights.of("healer", rights.release) == _verbs(nodes)
    finally:
        rights.remove()


def _grown(rights: Rights, component: str, namespace: str) -> dict[str, set[str]]:
    # The authorizer learns of a binding a moment after it was made.
    return rights.of(component, namespace)
