"""Gives a Deployment more replicas, up to a limit, and takes them back if it did not help."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.on_cluster import OnCluster, named, refusals, uid, version
from shared.cluster import Object
from shared.contracts import SeriesRef


@remediation("scale-deployment")
class ScaleDeployment(OnCluster):
    """Changes the number of replicas through the scale subresource, from the number that was seen
    to the one that was planned, and from no other.
    """

    KIND: ClassVar[str] = "deployment"
    LABELS: ClassVar[tuple[str, ...]] = ("deployment",)
    RIGHT: ClassVar[str] = "`scale`"
    COLLECTION: ClassVar[str] = "/apis/apps/v1/namespaces/{namespace}/deployments"
    SETTLE_S: ClassVar[float] = 60
    UNDOABLE: ClassVar[bool] = True
    RISKS: ClassVar[tuple[str, ...]] = (
        "More replicas cost more, and may overload what they depend on.",
        "An autoscaler of the same Deployment works against it: do not use both.",
        "Nothing scales it down again after the alarm has ended.",
    )

    factor: float = Field(
        default=1.5,
        gt=1,
        le=4,
        description="The number of replicas is multiplied by this factor and rounded up.",
    )
    max_replicas: int = Field(
        default=10, ge=1, description="The deployment never gets more replicas than this."
    )

    def plan(self, series: SeriesRef, seen: Object) -> tuple[list[Step], str]:
        now = int(seen["spec"].get("replicas", 1))
        wanted = min(self.max_replicas, math.ceil(now * self.factor))
        if now == 0:
            return [], "it was scaled to none on purpose"
        if wanted <= now:
            return [], f"it has {now} replicas, the most it may have"
        meta = seen["metadata"]
        step = Step(
            "scale",
            named(seen, self.KIND),
            identity=f"{uid(seen)}:{now}:{wanted}",
            diff=f"{now} -> {wanted} replicas",
            command=f"kubectl scale -n {meta['namespace']} deployment/{meta['name']} "
            f"--current-replicas={now} --replicas={wanted}",
        )
        return [step], ""

    def perform(self, step: Step) -> None:
        _, old, new = step.identity.rsplit(":", 2)
        self._scale(step, int(old), int(new))

    def happened(self, step: Step) -> bool:
        scale = self._now(step)
        return scale is None or int(scale["spec"].get("replicas", 0)) == int(
            step.identity.rsplit(":", 1)[1]
        )

    def undo(self, step: Step) -> None:
        _, old, new = step.identity.rsplit(":", 2)
        self._scale(step, int(new), int(old))

    def _scale(self, step: Step, old: int, new: int) -> None:
        scale = self._now(step)
        if scale is None:
            raise StepFailed("it is gone")
        now = int(scale["spec"].get("replicas", 0))
        if now == new:
            return
        if now != old:
            raise StepFailed(f"somebody else has scaled it to {now}")
        body = {"metadata": {"resourceVersion": version(scale)}, "spec": {"replicas": new}}
        with refusals():
            self.cluster.patch(self._scale_path(step), body)

    def _now(self, step: Step) -> Object | None:
        item = self.found(step)
        if item is None or uid(item) != step.identity.split(":")[0]:
            return None
        with refusals():
            return self.cluster.get(self._scale_path(step))

    def _scale_path(self, step: Step) -> str:
        namespace, _, name = step.target.split("/")
        return f"{self.path(namespace, name)}/scale"
