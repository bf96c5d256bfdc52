"""Finds the dominant reason why a job does not start; pure.

Reasons are ranked as ``PendingCause`` is: what no waiting heals comes first. Sentences are made of
the scheduler's and the kubelet's own messages, since administrators search for those.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.task.runtime import Pending
from services.task.runtimes.kubernetes import names, pods
from shared.cluster import Object
from shared.contracts import PendingCause

_IMAGE = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
}
_CONTAINER = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_ADVICE = {
    PendingCause.IMAGE: "check the image's name and tag, and the pull secret of the jobs'"
    " namespace; cancel the job to change them",
    PendingCause.ADMISSION: "the cluster's rules refuse the pods: change what the message names,"
    " or ask who administers the cluster",
    PendingCause.QUOTA: "wait for other jobs of the namespace to end, ask for less, or have the"
    " ResourceQuota raised",
    PendingCause.VOLUME: "look at the volume the message names: kubectl describe pod",
    PendingCause.UNSCHEDULABLE: "ask for less, free or add nodes; `tshell top` shows who has what",
    PendingCause.NODE: "the node has not started the pod: if that lasts, look at its kubelet",
    PendingCause.GANG: "nothing to do: the whole cluster starts when all of it fits",
    PendingCause.QUEUE: "nothing to do: Kueue admits it in turn; `kubectl get workloads` shows it",
}
_RANK = {cause: number for number, cause in enumerate(PendingCause)}
_QUOTA_WORDS = "exceeded quota"
# The sentences after the first are about preemption.
_AVAILABLE = re.compile(r"^\d+/(\d+) nodes are available: (.*?)(?:\.\s.*|\.)?$", re.DOTALL)
_MAX_REASON = 400


@dataclass(frozen=True)
class Seen:
    """The observations about one waiting job.

    ``warnings`` are the namespace's Warning events about its objects, newest last; ``workloads``
    Kueue's; ``held`` why its gates are not opened, '' when they are.
    """

    jobs: Sequence[Object]
    pods: Sequence[Object]
    warnings: Sequence[Object] = ()
    workloads: Sequence[Object] = ()
    held: str = ""
    refused: str = ""
    """The reason for which the API server did not take the job's own objects."""


def given_back() -> Pending:
    """The cause where part of a gang holds nodes while the rest of it finds none."""
    return Pending(
        cause=PendingCause.GANG,
        reason="only part of its pods found nodes; it gives them back and tries again",
        advice=_ADVICE[PendingCause.GANG],
        overdue=True,
    )


def dominant(seen: Seen) -> Pending | None:
    """The dominant reason; None if no obstacle is known."""
    found = sorted(_reasons(seen), key=lambda each: _RANK[each[0]])
    if not found:
        return None
    cause, reason, _ = found[0]
    same = [member for other, _, member in found if other is cause and member]
    return Pending(
        cause=cause,
        reason=reason[:_MAX_REASON],
        advice=_ADVICE[cause],
        members=tuple(dict.fromkeys(sorted(same))),
    )


def _reasons(seen: Seen) -> Iterator[tuple[PendingCause, str, str]]:
    """Cause, sentence and member of everything in the way."""
    if seen.refused:
        cause = _refusal(seen.refused)
        yield cause, f"the API server refuses the job's objects: {seen.refused}", ""
    yield from _creation(seen)
    yield from _queue(seen)
    gates = [pod for pod in seen.pods if pods.gated(pod) and pods.alive(pod)]
    if gates:
        held = seen.held or f"{len(gates)} of {len(seen.pods)} pods wait for the rest of them"
        yield PendingCause.GANG, held, ""
    for pod in seen.pods:
        if pods.alive(pod) and not pod["metadata"].get("deletionTimestamp"):
            yield from _pod(pod, seen.warnings)


def _creation(seen: Seen) -> Iterator[tuple[PendingCause, str, str]]:
    """The Job controller cannot make pods: a quota, or an admission plugin."""
    uids = {job["metadata"]["uid"]: job for job in seen.jobs}
    for event in reversed(seen.warnings):
        job = uids.get(event["involvedObject"].get("uid", ""))
        if job is None or event.get("reason") != "FailedCreate" or _complete(job):
            continue
        text = str(event.get("message", ""))
        yield _refusal(text), f"pods cannot be made: {text}", ""
        return


def _refusal(text: str) -> PendingCause:
    """The cause of a refusal by the API server: a quota, or an admission plugin."""
    return PendingCause.QUOTA if _QUOTA_WORDS in text else PendingCause.ADMISSION


def _complete(job: Object) -> bool:
    """Return whether the Job has all the pods it wants; then an old event says nothing any more."""
    spec, status = job["spec"], job.get("status") or {}
    made = sum(int(status.get(kind) or 0) for kind in ("active", "succeeded", "failed"))
    return made >= int(spec.get("completions") or 1)


def _queue(seen: Seen) -> Iterator[tuple[PendingCause, str, str]]:
    for job in seen.jobs:
        queue = (job["metadata"].get("labels") or {}).get(names.QUEUE)
        if not queue or not job["spec"].get("suspend"):
            continue
        text = f"waits in Kueue's queue {queue}"
        for workload in seen.workloads:
            owners = workload["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == job["metadata"]["uid"] for owner in owners):
                text += f", {workload['place']}" if workload.get("place") else ""
                text += "".join(
                    f": {each['message']}"
                    for each in (workload.get("status") or {}).get("conditions") or []
                    if each["type"] == "QuotaReserved" and each["status"] == "False"
                )
        yield PendingCause.QUEUE, text, ""


def _pod(pod: Object, warnings: Sequence[Object]) -> Iterator[tuple[PendingCause, str, str]]:
    told_of = pods.member(pod)
    name = told_of.name if told_of else pod["metadata"]["name"]
    uid = pod["metadata"]["uid"]
    for container, reason, message in pods.waiting(pod):
        if reason in _IMAGE:
            text = _pull_message(uid, warnings) or message or reason
            yield PendingCause.IMAGE, f"{container}: {reason}: {text}", name
        elif reason in _CONTAINER:
            yield PendingCause.ADMISSION, f"{container}: {reason}: {message}", name
    yield from _claim(pod, warnings, name)
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        yield PendingCause.UNSCHEDULABLE, unschedulable(str(scheduled.get("message", ""))), name
    elif pod["spec"]["nodeName"] and pod["status"].get("phase") == "Pending":
        mounts = [
            e
            for e in warnings
            if e["involvedObject"].get("uid") == uid and _is_volume(str(e.get("reason", "")))
        ]
        if mounts:
            yield PendingCause.VOLUME, str(mounts[-1].get("message", "")), name
        elif not any(True for _ in pods.waiting(pod)) and not pod["status"].get("startTime"):
            yield PendingCause.NODE, f"node {pod['spec']['nodeName']} has not begun with it", name


def _claim(
    pod: Object, warnings: Sequence[Object], member: str
) -> Iterator[tuple[PendingCause, str, str]]:
    """The pod's claim of devices cannot be made, without which the scheduler ignores the pod."""
    if pod["status"].get("resourceClaimStatuses"):
        return  # it has been made since
    uid = pod["metadata"]["uid"]
    for event in reversed(warnings):
        about = event["involvedObject"].get("uid") == uid
        if about and event.get("reason") == "FailedResourceClaimCreation":
            text = str(event.get("message", ""))
            yield _refusal(text), f"its claim of devices cannot be made: {text}", member
            return


def _is_volume(reason: str) -> bool:
    return reason in {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}


def _pull_message(uid: str, warnings: Iterable[Object]) -> str:
    """The registry's own words: the waiting reason alone says only that it backs off."""
    found = ""
    for event in warnings:
        about = event["involvedObject"].get("uid") == uid
        if about and event.get("reason") == "Failed" and "ull" in str(event.get("message")):
            found = str(event["message"])
    return found


def unschedulable(message: str) -> str:
    """The scheduler's message as a sentence: which resource, and on how many nodes.

    ``0/5 nodes are available: 3 Insufficient cpu, 2 node(s) had untolerated taint {...}.`` becomes
    ``no node of 5 can take it: cpu is short on 3; 2 node(s) had untolerated taint {...}``.
    """
    match = _AVAILABLE.match(message.strip())
    if match is None:
        return message or "no node can take it"
    total, causes = match.groups()
    if total == "0":
        return "the cluster has no node"
    said = []
    for cause in causes.split(", "):
        short = re.match(r"^(\d+) Insufficient (\S+)$", cause)
        said.append(f"{short[2]} is short on {short[1]}" if short else cause)
    return f"no node of {total} can take it: {'; '.join(said)}"
