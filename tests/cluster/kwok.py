"""Fake nodes: KWOK reports them ready and plays the pods on them, as ``kwok.yaml`` says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client

from shared.embedded.process import EmbeddedError, OwnedProcess
from tests.cluster.kube import Kube
from tests.waiting import eventually

# A label, not an annotation: of a node that loses it, KWOK is told as if it had been deleted.
_MARK = "barograph.test/node"
# A lease is renewed every quarter of this; a node is lost when it is silent for NODE_GRACE_S.
_LEASE_S = 16
_STAGES = Path(__file__).with_name("kwok.yaml")


@dataclass
class FakeNodes:
    """Makes and removes fake nodes of a cluster; its controller runs as a process of ours."""

    kube: Kube
    _process: OwnedProcess | None = field(default=None, init=False)
    _made: int = field(default=0, init=False)
    _nodes: list[str] = field(default_factory=list, init=False)

    def start(self) -> None:
        program = shutil.which("kwok")
        if program is None:
            raise EmbeddedError("kwok is not built: run `scripts/cluster.sh build`")
        self._process = OwnedProcess(
            [
                program,
                f"--kubeconfig={self.kube.kubeconfig}",
                f"--config={_STAGES}",
                f"--manage-nodes-with-label-selector={_MARK}=fake",
                f"--node-lease-duration-seconds={_LEASE_S}",
                "--cidr=10.128.0.1/12",
            ],
            log=self.kube.state / "log" / "kwok.log",
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def __call__(
        self,
        count: int,
        *,
        cpu: str = "8",
        memory: str = "32Gi",
        gpu: int = 0,
        pods: int = 110,
        labels: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Add ``count`` ready nodes of this size and return their names.

        ``gpu`` is the number of ``nvidia.com/gpu``; ``extra`` are further resources.
        """
        size = {"cpu": cpu, "memory": memory, "pods": str(pods), **(extra or {})}
        if gpu:
            size["nvidia.com/gpu"] = str(gpu)
        names = [f"fake-{self._made + number}" for number in range(count)]
        self._made += count
        self._nodes += names
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: self._create(name, size, labels or {}), names))
        eventually(lambda: set(names) <= self._ready(), f"{count} fake nodes ready")
        return names

    def lose(self, name: str) -> None:
        """The node falls silent: no heartbeat any more, its pods are as they were.

        Kubernetes evicts them only while other nodes are healthy: have three or more.
        """
        self.kube.core.patch_node(name, {"metadata": {"labels": {_MARK: "lost"}}})

    def find(self, name: str) -> None:
        """A lost node comes back."""
        self.kube.core.patch_node(name, {"metadata": {"labels": {_MARK: "fake"}}})

    def remove_all(self) -> None:
        """Delete every fake node; Kubernetes collects the pods that were on them."""
        names, self._nodes = self._nodes, []
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(self._delete, names))

    def _create(self, name: str, size: dict[str, str], labels: Mapping[str, str]) -> None:
        size = {"ephemeral-storage": "1Ti", **size}
        standard = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        node: dict[str, Any] = {
            "metadata": {
                "name": name,
                "labels": {**standard, "kubernetes.io/arch": "amd64", _MARK: "fake", **labels},
            },
            "status": {"capacity": size, "allocatable": size},
        }
        self.kube.core.create_node(node)

    def _delete(self, name: str) -> None:
        try:
            self.kube.core.delete_node(name)
        except client.ApiException as error:
            # A test may have deleted it: that is how a node is lost for good.
            if error.status != 404:
                raise

    def _ready(self) -> set[str]:
        nodes = self.kube.core.list_node().items
        return {node.metadata.name for node in nodes if _takes_pods(node)}


def _takes_pods(node: Any) -> bool:
    # A new node carries a taint, which goes a moment after the node has become ready.
    conditions = node.status.conditions or []
    ready = any(item.type == "Ready" and item.status == "True" for item in conditions)
    return ready and not node.spec.taints
