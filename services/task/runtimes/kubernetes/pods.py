"""Reads a pod object as its member's state; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.task.records import Exit
from services.task.runtimes.kubernetes import names
from shared.cluster import Object
from shared.contracts import Member

_SHELL_SIGNALS = range(129, 193)
_ENDED = {"Succeeded", "Failed"}
_KEPT_STATUS = (
    "phase",
    "reason",
    "message",
    "conditions",
    "podIP",
    "startTime",
    "resourceClaimStatuses",
)
_PREEMPTED = {"PreemptionByScheduler", "PreemptionByKueue"}
_DISRUPTIONS = {
    "EvictionByEvictionAPI": "it was evicted",
    "DeletionByTaintManager": "its node was lost or tainted",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ended it (shut-down, or short of a resource)",
}


def keep(pod: Object) -> Object:
    """The fields of a pod that are used; thousands of pods are held in memory."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    kept: dict[str, Any] = {k: status[k] for k in _KEPT_STATUS if k in status}
    for field in ("initContainerStatuses", "containerStatuses"):
        kept[field] = [
            {"name": s["name"], "state": s.get("state") or {}} for s in status.get(field) or []
        ]
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
            "labels": meta.get("labels") or {},
            "annotations": meta.get("annotations") or {},
            "creationTimestamp": meta["creationTimestamp"],
            "deletionTimestamp": meta.get("deletionTimestamp"),
            "deletionGracePeriodSeconds": meta.get("deletionGracePeriodSeconds"),
        },
        "spec": {
            "nodeName": spec.get("nodeName", ""),
            "schedulingGates": spec.get("schedulingGates") or [],
            "nodeSelector": spec.get("nodeSelector") or {},
            "nodeTerms": _node_terms(spec),
            "requests": [
                (c.get("resources") or {}).get("requests") or {}
                for c in [*spec.get("containers", ()), *_sidecars(spec)]
            ],
        },
        "status": kept,
    }


def _node_terms(spec: Object) -> list[Object]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return required.get("nodeSelectorTerms") or []


def _sidecars(spec: Object) -> list[Object]:
    return [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]


def job_id(item: Object) -> str:
    """The job an object belongs to, '' when it does not say."""
    return str(item["metadata"].get("annotations", {}).get(names.JOB_ID, ""))


def base(job: Object) -> int:
    """Return how many incarnations there were before the first that a Job makes."""
    try:
        return int(job["metadata"].get("annotations", {}).get(names.BASE, 0))
    except ValueError:
        return 0  # somebody has written to it; it makes what it makes


def group(item: Object) -> str:
    return str(item["metadata"].get("labels", {}).get(names.GROUP, ""))


def job_name(pod: Object) -> str:
    """The Job that made it, '' when it does not say."""
    return str(pod["metadata"]["labels"].get("batch.kubernetes.io/job-name", ""))


def index(pod: Object) -> int:
    """Its completion index, -1 when it has none."""
    return int(pod["metadata"]["annotations"].get(names.INDEX, -1))


def incarnation(pod: Object) -> int:
    """The incarnation of the member that this pod runs."""
    notes = pod["metadata"]["annotations"]
    counted = (notes.get(name) or "0" for name in (names.BASE, names.FAILED, names.IGNORED))
    return 1 + sum(map(int, counted))


def member(pod: Object) -> Member | None:
    """The member that a pod runs; None if its labels and annotations are not usable.

    Whoever may write pods of the namespace may have written them: one such pod is nobody's, and
    must not keep the others from being seen.
    """
    roles = str(pod["metadata"]["annotations"].get(names.ROLES, ""))
    try:
        return names.member_at(roles, group(pod), index(pod), incarnation(pod))
    except ValueError:
        return None


def alive(pod: Object) -> bool:
    """Return whether something of it may still run."""
    return pod["status"].get("phase") not in _ENDED


def gated(pod: Object) -> bool:
    return bool(pod["spec"]["schedulingGates"])


def condition(pod: Object, kind: str) -> Object:
    """A condition of the pod, empty when it has none of this kind."""
    for each in pod["status"].get("conditions") or []:
        if each["type"] == kind:
            return dict(each)
    return {}


def fate(pod: Object) -> Exit:
    """Return how a member ended, according to its pod, or what removed a pod that has not ended."""
    code, oom = _ended(pod, names.PROGRAM)
    if oom:
        return Exit(exit_code=_KILLED if code is None else code, oom=True)
    fault, preempted = _taken(pod)
    if not fault and code is None and (failed := _own_ended(pod)) is not None:
        return failed
    if not fault and code is None:
        fault = _ours_ended(pod) or "its pod vanished without a word"
    code = _KILLED if code is None else code
    if fault:
        return Exit(exit_code=code, fault=fault, infrastructure=True, preempted=preempted)
    return Exit(exit_code=code)


def _taken(pod: Object) -> tuple[str, bool]:
    """The outside cause of its end, '' if none; and whether that was a more important pod."""
    disruption = condition(pod, "DisruptionTarget")
    cause = str(disruption.get("reason", "")) if disruption.get("status") == "True" else ""
    if cause in _PREEMPTED:
        return "a pod of higher priority took its place", True
    if cause:
        return _DISRUPTIONS.get(cause, str(disruption.get("message") or cause)), False
    reason = str(pod["status"].get("reason") or "")
    return (f"{reason}: {pod['status'].get('message') or reason}" if reason else ""), False


def _ours_ended(pod: Object) -> str:
    for ours in (names.FETCH, names.LAUNCHER):
        code, short = _ended(pod, ours)
        if code:
            why = "ran out of memory" if short else f"ended with code {code}"
            return f"its {ours} container {why}"
    return ""


def _own_ended(pod: Object) -> Exit | None:
    """Return how an init container of the job's own failed, which is why there was no program."""
    for status in pod["status"].get("initContainerStatuses") or []:
        name = status["name"]
        code, oom = _ended(pod, name)
        if (
            name in (names.FETCH, names.LAUNCHER)
            or not code
            or not status["state"].get("terminated")
        ):
            continue
        if oom:
            return Exit(exit_code=code, fault=f"its init container {name} ran out of memory")
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Exit(exit_code=code, fault=f"its init container {name} {how}")
    return None


_KILLED = -9


def _ended(pod: Object, name: str) -> tuple[int | None, bool]:
    """Exit code (minus a signal's number, None if unknown), and whether its memory ended it."""
    for status in _statuses(pod):
        ended = status["state"].get("terminated")
        if status["name"] == name and ended:
            code = int(ended.get("exitCode", _KILLED))
            if ended.get("signal"):
                code = -int(ended["signal"])
            elif code in _SHELL_SIGNALS:
                code = 128 - code
            return code, ended.get("reason") == "OOMKilled"
    return (0 if pod["status"].get("phase") == "Succeeded" else None), False


def _statuses(pod: Object) -> Iterator[Object]:
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from pod["status"].get(field) or []


def waiting(pod: Object) -> Iterator[tuple[str, str, str]]:
    """Container, reason and message of each container that waits."""
    for status in _statuses(pod):
        waits = status["state"].get("waiting")
        if waits:
            yield status["name"], str(waits.get("reason", "")), str(waits.get("message", ""))


def idle(job: Object, wanted: dict[int, Member]) -> bool:
    """Return whether a Job will not make the pods of these incarnations by itself."""
    status = job.get("status") or {}
    if any(
        c["type"] in {"Complete", "Failed"} and c["status"] == "True"
        for c in status.get("conditions") or []
    ):
        return True
    newest = max(member.incarnation for member in wanted.values())
    if job["spec"].get("suspend") and newest > base(job) + 1:
        return True
    over = _indexes(status.get("completedIndexes")) | _indexes(status.get("failedIndexes"))
    return any(
        index in over and member.incarnation > base(job) + 1 for index, member in wanted.items()
    )


def _indexes(text: str | None) -> set[int]:
    """``1,3-5`` as numbers."""
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
