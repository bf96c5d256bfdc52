"""What a job can say, judged by a real API server before it is accepted; nothing is created."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from services.task.runtimes.kubernetes.allowed import Allowed
from services.task.runtimes.kubernetes.planner import KubernetesPlanner
from services.task.validation import Quotas
from shared.cluster import Cluster
from shared.contracts import JobSubmit
from tests.cluster.kube import Kube
from tests.unit.task.kubernetes.manifest_cases import CASES

_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def _planner(kube: Kube, namespace: str, case: str = "single") -> KubernetesPlanner:
    seen: Any = SimpleNamespace(
        nodes=list, capabilities=SimpleNamespace(kueue="v1", claims=True, version="")
    )
    template = replace(CASES[case][0], namespace=namespace, priority_class="")
    every = ("*",)
    allowed = Allowed(
        images=every,
        priority_classes=every,
        queues=every,
        claims=every,
        config_maps=every,
        secrets=("keys", "registry", "git"),
        nfs=("nfs.example:/",),
        host_paths=("/data",),
        tolerations=every,
        runtime_classes=("nvidia", "none"),
        service_accounts=("trainer", "nobody"),
        host_network=True,
    )
    quotas = Quotas(64, 2**40, 64, 64, "bucket")
    return KubernetesPlanner(Cluster(kube.kubeconfig), template, seen, quotas, allowed)


def _job(submit: JobSubmit, **fields: object) -> JobSubmit:
    """As it is, but for what only some clusters have."""
    update = {"package": "bucket:packages:a.tar.gz", "main": "m.py", "priority_class": None}
    return JobSubmit.model_validate(submit.model_dump() | update | fields)


@pytest.fixture
def jobs(kube: Kube) -> str:
    """A namespace that restricts pods, with what the cases name."""
    namespace = kube.new_namespace(_RESTRICTED)
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    kube.apply(
        account | {"metadata": {"name": "trainer", "namespace": namespace}},
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "nvidia"},
            "handler": "nvidia",
        },
    )
    return namespace


# The node's network is not for restricted pods.
@pytest.mark.parametrize("case", sorted({*CASES} - {"host_network"}))
def test_the_api_server_takes_the_objects_and_pods_of_every_job(
    kube: Kube, jobs: str, case: str
) -> None:
    assert _planner(kube, jobs, case).refusals(_job(CASES[case][1])) == ()


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "a service account": ({"service_account": {"name": "nobody"}}, "nobody"),
    "a RuntimeClass": ({"scheduling": {"runtime_class": "none"}}, "none"),
    "a PriorityClass": ({"priority_class": "none"}, "none"),
    "an export": (
        {"volumes": [{"path": "/a", "nfs": {"server": "nfs.example", "path": "/a"}}]},
        "violates PodSecurity",
    ),
    "a node's directory": (
        {"volumes": [{"path": "/a", "host_path": "/data", "read_only": True}]},
        "violates PodSecurity",
    ),
    "the node's network": ({"host_network": True}, "violates PodSecurity"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_cluster_has_not_or_does_not_admit_is_refused_before_it_is_accepted(
    kube: Kube, jobs: str, what: str
) -> None:
    fields, told = REFUSED[what]
    found = _planner(kube, jobs).refusals(_job(CASES["single"][1], **fields))
    assert found
    assert all(fault.field.startswith(("Pod", "Job")) for fault in found)
    assert told in found[0].problem


def test_a_full_quota_is_no_reason_to_refuse(kube: Kube, jobs: str) -> None:
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": jobs},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    assert _planner(kube, jobs).refusals(_job(CASES["single"][1])) == ()
