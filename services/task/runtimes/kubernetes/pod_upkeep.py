"""Pods that exist and need something: the dead buried, gates opened, members' labels set."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Asks the API server for what pods need, by ``acts``."""

    def __init__(self, cluster: Cluster, view: View, acts: Acts) -> None:
        self._cluster, self._view, self._acts = cluster, view, acts

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
        now = datetime.now(UTC)
        for pod in self._view.all_pods():
            going = pod["metadata"]["deletionTimestamp"]
            if going and pods.overdue(pod, now, _BURIAL_SLACK_S):
                path, alive = self.path(pod), pods.alive(pod)
                self._acts.do(Lane.END, f"bury {path}", partial(self._bury_one, path, alive=alive))

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


def _marks(pod: Object) -> Object:
    """The change of a pod that gives it its member's labels; nothing if it is no member's."""
    member = pods.member(pod)
    if member is None:
        return {}
    roles = pod["metadata"]["annotations"].get(names.ROLES, "")
    return {"metadata": {"labels": names.member_labels(roles, member)}}
