"""Keeps new pods off a node, and moves those that are on it elsewhere."""

from __future__ import annotations

from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import ClassVar

from pydantic import Field

from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.on_cluster import NAME, OnCluster, named, refusals, uid
from services.healer.remediations.restart_pod import remove
from services.healer.remediations.stepwise import NotApplicable
from shared.cluster import ClusterError, Object
from shared.contracts import SeriesRef

_MIRROR = "kubernetes.io/config.mirror"


@remediation("cordon-node")
class CordonNode(OnCluster):
    """Marks the node unschedulable; its pods stay. Undone if it did not help."""

    KIND: ClassVar[str] = "node"
    LABELS: ClassVar[tuple[str, ...]] = ("node", "nodename")
    RIGHT: ClassVar[str] = "`cordonNodes`"
    COLLECTION: ClassVar[str] = "/api/v1/nodes"
    UNDOABLE: ClassVar[bool] = True
    RISKS: ClassVar[tuple[str, ...]] = (
        "The cluster has less room for new pods until somebody uncordons the node.",
    )

    nodes: tuple[str, ...] = Field(
        default=(), description="Shell patterns of the nodes that it may act on; empty: none."
    )

    @classmethod
    def place(cls, series: SeriesRef) -> tuple[str, str]:
        """The place without a namespace: the node's label, or the machine itself."""
        return "", super().place(series)[1] or series.host

    def applies(self, series: SeriesRef) -> str:
        _, name = self.place(series)
        if not NAME.fullmatch(name):
            return "the series' labels are no name of a node"
        allowed = any(fnmatchcase(name, pattern) for pattern in self.nodes)
        return "" if allowed else f"node {name} is not allow-listed"

    def plan(self, series: SeriesRef, seen: Object) -> tuple[list[Step], str]:
        if seen["spec"].get("unschedulable"):
            return [], "the node is cordoned already"
        name = seen["metadata"]["name"]
        step = Step(
            "cordon",
            named(seen, self.KIND),
            identity=uid(seen),
            diff="schedulable -> unschedulable",
            command=f"kubectl cordon {name}",
        )
        return [step], ""

    def perform(self, step: Step) -> None:
        self._cordon(step, unschedulable=True)

    def happened(self, step: Step) -> bool:
        node = self.found(step)
        gone = node is None or uid(node) != step.identity
        return gone or bool(node and node["spec"].get("unschedulable"))

    def undo(self, step: Step) -> None:
        self._cordon(step, unschedulable=False)

    def _cordon(self, step: Step, *, unschedulable: bool) -> None:
        node = self.found(step)
        if node is None or uid(node) != step.identity:
            raise StepFailed("the node is gone")
        body = {"spec": {"unschedulable": unschedulable}}
        with refusals():
            self.cluster.patch(self.path("", node["metadata"]["name"]), body)


@remediation("drain-node")
class DrainNode(CordonNode):
    """Cordons the node, then evicts its pods one by one within their disruption budgets.

    Pods of DaemonSets and the kubelet's own stay. A pod that no controller would make again is
    left alone, too, and said.
    """

    RIGHT: ClassVar[str] = "`drainNodes`"
    SETTLE_S: ClassVar[float] = 60
    RISKS: ClassVar[tuple[str, ...]] = (
        "The other nodes must have room for its pods.",
        "Data in emptyDir volumes is lost.",
        "The node is uncordoned if it did not help; pods that were moved do not return.",
        "With a group and its share in the policy, only so many nodes are drained at once.",
    )

    def look(self, series: SeriesRef) -> Object:
        node = super().look(series)
        query = {"fieldSelector": f"spec.nodeName={node['metadata']['name']}"}
        try:
            return node | {"pods": list(self.cluster.list("/api/v1/pods", **query))}
        except ClusterError as error:
            raise NotApplicable(f"its pods could not be listed: {error}") from error

    def plan(self, series: SeriesRef, seen: Object) -> tuple[list[Step], str]:
        steps, _ = super().plan(series, seen)
        alone = 0
        for pod in seen["pods"]:
            meta = pod["metadata"]
            owners = [o for o in meta.get("ownerReferences", []) if o.get("controller")]
            ended = pod["status"].get("phase") in {"Succeeded", "Failed"}
            stays = _MIRROR in meta.get("annotations", {}) or meta.get("deletionTimestamp")
            if ended or stays or any(owner["kind"] == "DaemonSet" for owner in owners):
                continue
            if not owners:
                alone += 1
                continue
            command = f"kubectl delete -n {meta['namespace']} pod {meta['name']}"
            steps.append(
                Step(
                    "evict",
                    named(pod, "pod"),
                    identity=uid(pod),
                    diff="running -> elsewhere",
                    command=command,
                )
            )
        note = f"{alone} pods without a controller stay" if alone else ""
        return steps, note if steps or note else "the node is drained already"

    def perform(self, step: Step) -> None:
        namespace, kind, name = step.target.split("/")
        if kind == self.KIND:
            super().perform(step)
        else:
            remove(self, namespace, name, step)

    def happened(self, step: Step) -> bool:
        namespace, kind, name = step.target.split("/")
        if kind == self.KIND:
            return super().happened(step)
        try:
            pod = self.cluster.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        except ClusterError as error:
            return error.status == HTTPStatus.NOT_FOUND
        return uid(pod) != step.identity or "deletionTimestamp" in pod["metadata"]

    def undo(self, step: Step) -> None:
        if step.target.split("/")[1] == self.KIND:
            super().undo(step)
