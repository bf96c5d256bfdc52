"""Jobs that Kueue admits; the test plays Kueue, on a definition of its Workload of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from shared.contracts import FailureClass, JobState, PendingCause
from tests.cluster.jobs import PACKAGE, ClusterJobs, cluster
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.waiting import eventually

GROUP, QUEUE = "kueue.x-k8s.io", "team"
VERSION = "v1beta2"
"""The newer of Kueue's versions; the older one is served no longer by its newest releases."""
NO_QUOTA = "couldn't assign flavors: insufficient unused quota for cpu, 2 more needed"
# As much of Kueue's definition as is read: everything else is kept as it comes.
_WORKLOAD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"workloads.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "Workload", "plural": "workloads", "singular": "workload"},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


class Kueue:
    """What Kueue does to a Job and its Workload."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace
        self._workloads: Any = client.CustomObjectsApi(kube.api)

    def hold(self, job: Any, message: str) -> None:
        """A Workload for the Job that finds no quota."""
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": job.metadata.name,
            "uid": job.metadata.uid,
        }
        made = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Workload",
            "metadata": {"name": f"job-{job.metadata.name}", "ownerReferences": [owner]},
            "spec": {"queueName": QUEUE},
        }
        place = (GROUP, VERSION, self._namespace, "workloads")
        self._workloads.create_namespaced_custom_object(*place, made)
        condition = {
            "type": "QuotaReserved",
            "status": "False",
            "reason": "Pending",
            "message": message,
        }
        self._workloads.patch_namespaced_custom_object_status(
            *place, f"job-{job.metadata.name}", {"status": {"conditions": [condition]}}
        )

    def suspend(self, job: Any, *, suspended: bool) -> None:
        """Admit the Job, or take back what it has."""
        patch = {"spec": {"suspend": suspended}}
        self._kube.batch.patch_namespaced_job(job.metadata.name, self._namespace, patch)


@pytest.fixture
def workloads(kube: Kube) -> Iterator[None]:
    """Kueue's API, before the task service asks what the cluster has."""
    kube.apply(_WORKLOAD)
    kube.kubectl("wait", "--for=condition=Established", f"crd/workloads.{GROUP}")
    eventually(
        lambda: GROUP in {g.name for g in client.ApisApi(kube.api).get_api_versions().groups},
        "Kueue's API group",
    )
    yield
    kube.kubectl("delete", "crd", f"workloads.{GROUP}")


@pytest.fixture
def platform(workloads: None, platform: ClusterJobs) -> ClusterJobs:
    """The job half, which finds Kueue's kinds when it starts."""
    del workloads
    return platform


def test_a_queued_cluster_waits_for_kueue_runs_when_admitted_and_survives_preemption(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2)
    kueue = Kueue(platform.kube, platform.namespace)
    job_id = platform.submit(PACKAGE, **cluster(queue=QUEUE))
    eventually(platform.jobs, "the Job")
    (job,) = platform.jobs()
    assert job.metadata.labels["kueue.x-k8s.io/queue-name"] == QUEUE
    assert (job.spec.suspend, job.spec.completions) == (True, 4)
    assert not platform.pods(job_id)
    pending = platform.wait_for(job_id, "job.pending")
    assert pending.cause is PendingCause.QUEUE
    assert QUEUE in pending.reason

    kueue.hold(job, NO_QUOTA)
    eventually(
        lambda: any(NO_QUOTA in getattr(e, "reason", "") for e in platform.told(job_id)),
        "the Workload's own words",
    )
    eventually(
        lambda: any(f"{QUEUE}, 1st of 1: {NO_QUOTA}" in e.reason for e in platform.told(job_id)),
        "its place",
    )

    kueue.suspend(job, suspended=False)
    platform.wait_for(job_id, "job.running")
    assert len(platform.pods(job_id)) == 4

    kueue.suspend(job, suspended=True)
    retrying = platform.wait_for(job_id, "job.retrying")
    assert retrying.failure_class is FailureClass.PREEMPTION
    again = eventually(
        lambda: [j for j in platform.jobs() if j.metadata.uid != job.metadata.uid], "a new Job"
    )
    assert again[0].spec.suspend
    kueue.suspend(again[0], suspended=False)
    platform.until(lambda: _runs_last(platform, job_id), "the next incarnations", job_id)
    platform.end_pod(job_id, 0, "all-0")
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    eventually(lambda: platform.nothing_left(job_id), "removal of everything")


def _runs_last(platform: ClusterJobs, job_id: str) -> bool:
    return platform.told(job_id)[-1].TYPE == "job.running"
