"""Restarts all pods of a Deployment, StatefulSet or DaemonSet, as ``kubectl rollout restart``."""

from __future__ import annotations

from typing import ClassVar

from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.on_cluster import OnCluster, named, refusals, uid, version
from shared.cluster import STRATEGIC_PATCH, Object
from shared.contracts import SeriesRef

ANNOTATION = "barograph.dev/restarted-for"


@remediation("rollout-restart")
class RolloutRestart(OnCluster):
    """Restarts a workload: its controller replaces one pod after the other.

    The mark is the plan's own: done a second time it changes nothing. If somebody changed the
    workload since it was planned, it is left alone.
    """

    LABELS: ClassVar[tuple[str, ...]] = ("deployment", "statefulset", "daemonset")
    RIGHT: ClassVar[str] = "`rolloutRestart`"
    COLLECTION: ClassVar[str] = "/apis/apps/v1/namespaces/{namespace}/{kind}s"
    SETTLE_S: ClassVar[float] = 60
    RISKS: ClassVar[tuple[str, ...]] = (
        "All pods are replaced one after another: caches are cold, and connections are reset.",
        "A new pod that does not become ready stops the rollout half-way, as it should.",
        "A StatefulSet's members leave one by one; nodes are without their DaemonSet's pod.",
    )

    def plan(self, series: SeriesRef, seen: Object) -> tuple[list[Step], str]:
        meta, kind = seen["metadata"], self.kind(series)
        if seen["spec"].get("paused"):
            return [], "its rollout is paused"
        if seen["spec"].get("updateStrategy", {}).get("type") == "OnDelete":
            return [], "its pods are replaced only when somebody deletes them (OnDelete)"
        generation = meta["generation"]
        step = Step(
            "restart",
            named(seen, kind),
            identity=f"{uid(seen)}:{generation}",
            diff=f"generation {generation} -> {generation + 1}",
            command=f"kubectl rollout restart -n {meta['namespace']} {kind}/{meta['name']}",
        )
        return [step], ""

    def perform(self, step: Step) -> None:
        now = self.found(step)
        if now is None:
            raise StepFailed("it is gone")
        if _mark(now) == step.identity:
            return
        if f"{uid(now)}:{now['metadata']['generation']}" != step.identity:
            raise StepFailed("it was changed since it was planned")
        namespace, kind, name = step.target.split("/")
        marked = {"metadata": {"annotations": {ANNOTATION: step.identity}}}
        body = {"metadata": {"resourceVersion": version(now)}, "spec": {"template": marked}}
        with refusals():
            self.cluster.patch(self.path(namespace, name, kind), body, kind=STRATEGIC_PATCH)

    def happened(self, step: Step) -> bool:
        now = self.found(step)
        return now is None or _mark(now) == step.identity


def _mark(item: Object) -> str:
    meta = item["spec"]["template"].get("metadata", {})
    return str(meta.get("annotations", {}).get(ANNOTATION, ""))
