"""Maintains existing pods: marks lost ones as failed, opens gates, sets members' labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import structlog

from services.task.runtimes.kubernetes import names, pods
from services.task.runtimes.kubernetes.acts import Acts, Lane
from services.task.runtimes.kubernetes.view import View
from shared.cluster import Cluster, NotFound, Object, path_of

log = structlog.get_logger(__name__)

_BURIAL_SLACK_S = 15.0


class PodUpkeep:
    """Sends the requests that pods need, through ``acts``."""

    def __init__(
        self, cluster: Cluster, view: View, acts: Acts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster, self._view, self._acts = cluster, view, acts
        self._clock = clock
        self._leaving: dict[str, float] = {}
        """The time at which each pod that is to go was first seen so, by its uid."""

    def path(self, pod: Object) -> str:
        """The API's path of a pod."""
        metadata = pod["metadata"]
        return path_of("v1", "pods", metadata["namespace"], metadata["name"])

    def bury(self) -> None:
        """End pods whose node has fallen silent after they were to go.

        As Kubernetes' own pod collector does on nodes known to be dead: failed first, so that the
        Job may replace it, then deleted. Should it still run, it is fenced. One that has ended
        already is only to be deleted: nothing else would, as long as its node is not given up.
        """
        for pod in self._overdue():
            path, alive = self.path(pod), pods.alive(pod)
            self._acts.do(Lane.END, f"bury {path}", partial(self._bury_one, path, alive=alive))

    def _overdue(self) -> list[Object]:
        """The pods that have been asked to go for longer than their grace.

        Counted from when that was seen, by a clock that nobody sets: by the time of day a clock
        that is ahead of the API server's would end pods that still store what they have.
        """
        now = self._clock()
        leaving = [pod for pod in self._view.all_pods() if pod["metadata"]["deletionTimestamp"]]
        uids = [pod["metadata"]["uid"] for pod in leaving]
        self._leaving = {uid: self._leaving.get(uid, now) for uid in uids}
        return [
            pod
            for pod, uid in zip(leaving, uids, strict=True)
            if now - self._leaving[uid] > _grace_s(pod) + _BURIAL_SLACK_S
        ]

    def _bury_one(self, path: str, *, alive: bool) -> None:
        gone = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"phase": "Failed", "conditions": [gone | {"lastTransitionTime": now}]}
        try:
            if alive:
                self._cluster.patch(f"{path}/status", {"status": status})
            self._cluster.delete(path, gracePeriodSeconds=0)
        except NotFound:
            return
        log.warning("pod_of_a_lost_node_removed", pod=path)

    def open(self, gated: Iterable[Object]) -> None:
        """Let the scheduler look for nodes for the pods of a gang."""
        for pod in gated:
            others = [g for g in pod["spec"]["schedulingGates"] if g["name"] != names.GATE]
            opened = {"spec": {"schedulingGates": others or None}, **_marks(pod)}
            try:
                self._cluster.patch(self.path(pod), opened)
            except NotFound:
                continue

    def mark(self) -> None:
        """See that pods which no gate holds carry the labels of their own member, too."""
        for pod in self._view.all_pods():
            known = names.REPLICA_INDEX in pod["metadata"]["labels"]
            marks = {} if known or pods.gated(pod) or not pods.alive(pod) else _marks(pod)
            if marks:
                act = partial(self._mark_one, self.path(pod), marks)
                self._acts.do(Lane.TIDY, f"mark {pod['metadata']['uid']}", act)

    def _mark_one(self, path: str, marks: Object) -> None:
        with suppress(NotFound):
            self._cluster.patch(path, marks)


def _grace_s(pod: Object) -> float:
    return float(pod["metadata"]["deletionGracePeriodSeconds"] or 0)


def _marks(pod: Object) -> Object:
    """The change of a pod that gives it its member's labels; nothing if it is no member's."""
    member = pods.member(pod)
    if member is None:
        return {}
    roles = pod["metadata"]["annotations"].get(names.ROLES, "")
    return {"metadata": {"labels": names.member_labels(roles, member)}}
