"""The platform's jobs as pods on fake nodes, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.brokers import BrokerUnderTest
from tests.cluster.kube import Kube
from tests.cluster.launchers import FakeLaunchers
from tests.conftest import ObjectStoreUnderTest
from tests.jobs import JobPlatform

PACKAGE = "barograph:packages:any.tar.gz"


class ClusterJobs(JobPlatform):
    """The job half of the platform with pods for members."""

    def __init__(self, kube: Kube, namespace: str, *rest: Any, **settings: Any) -> None:
        super().__init__(
            *rest,
            runtime="kubernetes",
            kubeconfig=kube.kubeconfig,
            namespace=namespace,
            launcher_image="launcher:test",
            program_image="program:test",
            image_pull_policy="Never",
            allowed_images='["*"]',
            capacity_cpu=0,
            capacity_memory=0,
            pod_grace_s=10,
            gang_s=20,
            **settings,
        )
        self.kube, self.namespace = kube, namespace

    def pods(self, job_id: str) -> list[Any]:
        found = self.kube.core.list_namespaced_pod(self.namespace).items
        return [p for p in found if p.metadata.annotations.get("barograph.io/job-id") == job_id]

    def jobs(self) -> list[Any]:
        items: list[Any] = self.kube.batch.list_namespaced_job(self.namespace).items
        return items

    def end_pod(self, job_id: str, code: int, name: str = "", **more: str) -> None:
        """Have the program of a member's pod end with this code."""
        (pod,) = [
            p
            for p in self.pods(job_id)
            if name in p.metadata.name
            and p.status.phase == "Running"
            and not p.metadata.deletion_timestamp
        ]
        notes = {
            "barograph.test/exit-code": str(code),
            **{f"barograph.test/{k}": v for k, v in more.items()},
        }
        patch = {"metadata": {"annotations": notes}}
        self.kube.core.patch_namespaced_pod(pod.metadata.name, self.namespace, patch)

    def nothing_left(self, job_id: str) -> bool:
        secrets = self.kube.core.list_namespaced_secret(self.namespace).items
        return not self.pods(job_id) and not self.jobs() and not secrets


def cluster(**fields: Any) -> dict[str, Any]:
    return {"type": "distribute", "chief": True, "ps": 1, "workers": 2, **fields}


@contextmanager
def running_jobs(
    kube: Kube,
    namespace: str,
    broker: BrokerUnderTest,
    store: ObjectStoreUnderTest,
    directory: Path,
    **settings: Any,
) -> Iterator[ClusterJobs]:
    """The platform, and what stands in for its launchers; both end with the block."""
    platform = ClusterJobs(kube, namespace, broker, store, directory, **settings)
    platform.start()
    try:
        launchers = FakeLaunchers(kube, namespace, broker)
        launchers.start()
        try:
            yield platform
        finally:
            launchers.stop()
    finally:
        platform.stop()
