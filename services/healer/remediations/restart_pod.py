"""Deletes or evicts a pod, so that its controller makes a new one."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.on_cluster import OnCluster, named, refusals, uid
from shared.cluster import ClusterUnavailable, NotFound, Object
from shared.contracts import SeriesRef

_MIRROR = "kubernetes.io/config.mirror"


@remediation("restart-pod")
class RestartPod(OnCluster):
    """Restarts a pod that a controller will replace, and only the pod that was planned (by uid).

    Evicting respects disruption budgets, deleting does not.
    """

    KIND: ClassVar[str] = "pod"
    LABELS: ClassVar[tuple[str, ...]] = ("pod", "pod_name")
    RIGHT: ClassVar[str] = "`evictPods`; with `evict: false` `deletePods`"
    COLLECTION: ClassVar[str] = "/api/v1/namespaces/{namespace}/pods"
    SETTLE_S: ClassVar[float] = 30
    RISKS: ClassVar[tuple[str, ...]] = (
        "Requests under way are cut off after the pod's grace period.",
        "Data in the pod's own file system and emptyDir volumes is lost.",
        "A new pod may find no node with room for it.",
    )

    evict: bool = Field(
        default=True,
        description="true: the pod is evicted, as disruption budgets allow; false: it is deleted "
        "in spite of them.",
    )

    def plan(self, series: SeriesRef, seen: Object) -> tuple[list[Step], str]:
        meta = seen["metadata"]
        if not any(owner.get("controller") for owner in meta.get("ownerReferences", [])):
            return [], "the pod has no controller that would replace it"
        if _MIRROR in meta.get("annotations", {}):
            return [], "the pod is a kubelet's own"
        if meta.get("deletionTimestamp"):
            return [], "the pod is being deleted already"
        where = f"-n {meta['namespace']} pod {meta['name']}"
        action = "evict" if self.evict else "delete"
        step = Step(
            action,
            named(seen, self.KIND),
            identity=uid(seen),
            diff=f"{seen.get('status', {}).get('phase', '?')} -> replaced",
            command=f"kubectl delete {where}",
        )
        return [step], ""

    def perform(self, step: Step) -> None:
        namespace, _, name = step.target.split("/")
        remove(self, namespace, name, step)

    def happened(self, step: Step) -> bool:
        pod = self.found(step)
        return pod is None or uid(pod) != step.identity or "deletionTimestamp" in pod["metadata"]


def remove(way: OnCluster, namespace: str, name: str, step: Step) -> None:
    """Evict or delete the pod with the step's uid; harmless when it is gone."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    wanted: dict[str, Any] = {"preconditions": {"uid": step.identity}}
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": wanted,
    }
    try:
        with refusals():
            if step.action == "evict":
                way.cluster.create(f"{path}/eviction", eviction)
            else:
                way.cluster.delete(path, **wanted)
    except StepFailed as error:
        cause = error.__cause__
        if isinstance(cause, NotFound):
            return
        if isinstance(cause, ClusterUnavailable) and step.action == "evict":
            raise StepFailed(f"a disruption budget forbids it now: {error}") from error
        raise
