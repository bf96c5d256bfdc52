"""Watches the TFJobs of some namespaces, and writes their status and events."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import structlog

from services.task.tfjobs.conditions import Condition
from services.task.tfjobs.tfjob import KIND, PLURAL, VERSION, TFJob
from shared.cluster import (
    Cluster,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Mirror,
    NotFound,
    Object,
    path_of,
)

log = structlog.get_logger(__name__)

_WARNINGS = {"Failed", "Restarting", "Pending", "Ignored"}
_MAX_NOTE = 1000
_MAX_POSTED = 10_000
_COMPONENT = "barograph-task"


class TFJobSource(Protocol):
    """The controller's needs of the cluster; every call may be repeated."""

    def found(self) -> dict[str, list[TFJob]]:
        """All of them, as of now, by namespace; one that was never listed so far is missing."""

    def write_status(self, tfjob: TFJob, status: Object) -> None:
        """Give it this status, which ``found`` shows from now on.

        Raises:
            ClusterError: when it could not be written; NotFound when the object is gone.
        """

    def tell(self, tfjob: TFJob, condition: Condition) -> None:
        """An event about it; the same is written once. It is lost when it cannot be written now."""

    def delete(self, tfjob: TFJob) -> None:
        """Delete the object, unless it is gone.

        Raises:
            ClusterError: when the server would not.
        """


class ClusterTFJobs:
    """TFJobs of a real API server.

    Args:
        cluster: the API server.
        namespaces: which are watched; each by itself, so that rights for these are enough.
    """

    def __init__(self, cluster: Cluster, namespaces: Sequence[str]) -> None:
        self._cluster = cluster
        self._mirrors = {
            namespace: Mirror(cluster, path_of(VERSION, PLURAL, namespace), keep=_keep)
            for namespace in namespaces
        }
        self._posted: set[str] = set()

    def start(self) -> None:
        for mirror in self._mirrors.values():
            mirror.start()

    def close(self) -> None:
        for mirror in self._mirrors.values():
            mirror.stop()
        self._cluster.close()

    def found(self) -> dict[str, list[TFJob]]:
        """See the protocol."""
        return {
            namespace: [TFJob(item) for item in mirror.items()]
            for namespace, mirror in self._mirrors.items()
            if mirror.synced
        }

    def write_status(self, tfjob: TFJob, status: Object) -> None:
        """See the protocol."""
        # The uid prevents that it is written to another object of the same name.
        body = {"metadata": {"uid": tfjob.uid}, "status": _patch(tfjob.status, status)}
        path = path_of(VERSION, PLURAL, tfjob.namespace, tfjob.name)
        self._mirrors[tfjob.namespace].learn(self._cluster.patch(f"{path}/status", body))

    def tell(self, tfjob: TFJob, condition: Condition) -> None:
        """See the protocol."""
        event = _event(tfjob, condition)
        name = event["metadata"]["name"]
        if name in self._posted:
            return
        try:
            self._cluster.create(path_of("v1", "events", tfjob.namespace), event)
        except Conflict:
            pass  # written before a restart
        except ClusterUnavailable as error:
            log.warning("tfjob_event_postponed", tfjob=tfjob.name, error=str(error))
            return
        except ClusterError as error:
            log.warning("tfjob_event_refused", tfjob=tfjob.name, error=str(error))
        if len(self._posted) >= _MAX_POSTED:
            self._posted.clear()  # the server still knows the newer ones by their names
        self._posted.add(name)

    def delete(self, tfjob: TFJob) -> None:
        """See the protocol."""
        path = path_of(VERSION, PLURAL, tfjob.namespace, tfjob.name)
        try:
            self._cluster.delete(path, preconditions={"uid": tfjob.uid})
        except (NotFound, Conflict):
            pass  # gone, or another one of the same name


def _patch(before: Object, after: Object) -> Object:
    """The merge patch that makes ``after`` of ``before``: what is not named there stays."""
    patch: Object = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        known = before.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            patch[key] = _patch(known, value)
        else:
            patch[key] = value
    return patch


def changed(before: Sequence[Condition], after: Sequence[Condition]) -> list[Condition]:
    """Conditions that came to hold or ceased to."""
    # No set: whoever may write a status may have put anything there.
    known = [(c.get("type"), c.get("status"), c.get("reason")) for c in before]
    return [c for c in after if (c["type"], c["status"], c["reason"]) not in known]


def _event(tfjob: TFJob, condition: Condition) -> Object:
    kind, at = condition["type"], condition["lastTransitionTime"]
    parts = (tfjob.uid, kind, condition["reason"], condition["message"], at)
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{tfjob.name[:200].rstrip('-.')}.{digest[:16]}",
            "namespace": tfjob.namespace,
        },
        "involvedObject": {
            "apiVersion": VERSION,
            "kind": KIND,
            "namespace": tfjob.namespace,
            "name": tfjob.name,
            "uid": tfjob.uid,
        },
        "type": "Warning" if kind in _WARNINGS else "Normal",
        "reason": condition["reason"],
        "message": condition["message"][:_MAX_NOTE],
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


def _keep(item: Object) -> Object:
    meta = item["metadata"]
    named = (
        "namespace",
        "name",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
    )
    return {
        "metadata": {key: meta[key] for key in named if key in meta},
        "spec": item.get("spec"),
        "status": item.get("status"),
    }
