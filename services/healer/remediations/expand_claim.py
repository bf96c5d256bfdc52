"""Expands a PersistentVolumeClaim that is getting full, up to a limit."""

from __future__ import annotations

import math
import re
from typing import ClassVar

from pydantic import Field

from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.on_cluster import OnCluster, named, refusals, uid, version
from shared.cluster import Object
from shared.contracts import SeriesRef

_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)([KMGTPE]i|[kMGTPE])?$")
_SUFFIXES: dict[str, int] = (
    {"": 1}
    | {"k": 10**3}
    | {
        s + i: base ** (n + 1)
        for n, s in enumerate("KMGTPE")
        for i, base in (("i", 1024), ("", 1000))
    }
)
_GIB = 1024**3


@remediation("expand-claim")
class ExpandClaim(OnCluster):
    """Requests more storage for a claim; the storage class must allow expansion."""

    KIND: ClassVar[str] = "persistentvolumeclaim"
    LABELS: ClassVar[tuple[str, ...]] = ("persistentvolumeclaim",)
    RIGHT: ClassVar[str] = "`expandClaims`"
    COLLECTION: ClassVar[str] = "/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    SETTLE_S: ClassVar[float] = 120
    RISKS: ClassVar[tuple[str, ...]] = (
        "A claim cannot be made smaller again; the storage is paid for from now on.",
        "Some drivers grow the file system only when the pod is restarted.",
    )

    factor: float = Field(
        default=1.25, gt=1, le=2, description="The claim is made larger by this factor."
    )
    max_gib: int = Field(default=100, ge=1, description="The largest size of a claim, in GiB.")

    def plan(self, series: SeriesRef, seen: Object) -> tuple[list[Step], str]:
        asked = seen["spec"]["resources"]["requests"]["storage"]
        now = quantity(asked)
        gib = min(self.max_gib, max(math.ceil(now * self.factor / _GIB), 1))
        if gib * _GIB <= now:
            return [], f"it has {asked}, the most it may have"
        meta, wanted = seen["metadata"], f"{gib}Gi"
        patch = f'{{"spec":{{"resources":{{"requests":{{"storage":"{wanted}"}}}}}}}}'
        step = Step(
            "expand",
            named(seen, self.KIND),
            identity=f"{uid(seen)}:{asked}:{wanted}",
            diff=f"{asked} -> {wanted}",
            command=f"kubectl patch -n {meta['namespace']} pvc {meta['name']} -p '{patch}'",
        )
        return [step], ""

    def perform(self, step: Step) -> None:
        owner, old, new = step.identity.split(":")
        claim = self.found(step)
        if claim is None or uid(claim) != owner:
            raise StepFailed("it is gone")
        now = claim["spec"]["resources"]["requests"]["storage"]
        if quantity(now) >= quantity(new):
            return
        if now != old:
            raise StepFailed(f"somebody else has expanded it to {now}")
        spec = {"resources": {"requests": {"storage": new}}}
        body = {"metadata": {"resourceVersion": version(claim)}, "spec": spec}
        namespace, _, name = step.target.split("/")
        with refusals():
            self.cluster.patch(self.path(namespace, name), body)

    def happened(self, step: Step) -> bool:
        owner, _, new = step.identity.split(":")
        claim = self.found(step)
        if claim is None or uid(claim) != owner:
            return True
        return quantity(claim["spec"]["resources"]["requests"]["storage"]) >= quantity(new)


def quantity(text: str) -> float:
    """Bytes of a Kubernetes quantity; ValueError for another text.

    >>> quantity("1Gi"), quantity("500M"), quantity("10")
    (1073741824.0, 500000000.0, 10.0)
    """
    found = _QUANTITY.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not a quantity of storage")
    return float(found[1]) * _SUFFIXES[found[2] or ""]
