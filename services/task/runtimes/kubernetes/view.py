"""The objects of our jobs: mirrors of pods, Jobs, warnings and nodes, arranged by job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.task.records import Exit
from services.task.runtime import Observed
from services.task.runtimes.kubernetes import names, pods, room
from services.task.runtimes.kubernetes.capabilities import Capabilities
from services.task.runtimes.kubernetes.pending import Seen
from services.task.runtimes.kubernetes.queue import Queues
from services.task.runtimes.kubernetes.room import Free, Need
from shared.changes import with_changes
from shared.cluster import Cluster, Mirror, Mirrors, Object, path_of

_MAX_BEFORE = 8
"""The number of earlier incarnations that are still reported."""


class View:
    """The cluster as the runtime sees it.

    Args:
        cluster: the API server.
        namespaces: where jobs run; first that of projects which have none of their own.
        owner: whose jobs.
        capabilities: what the API server can do.
    """

    def __init__(
        self, cluster: Cluster, namespaces: Sequence[str], owner: str, capabilities: Capabilities
    ) -> None:
        self.capabilities = capabilities
        mine = names.selector(owner)
        self._pods = Mirrors(
            cluster,
            ("v1", "pods"),
            namespaces,
            selector=mine,
            keep=pods.keep,
            group=pods.job_id,
            on_deleted=self._deleted,
        )
        self._jobs = Mirrors(
            cluster,
            ("batch/v1", "jobs"),
            namespaces,
            selector=mine,
            keep=_keep_job,
            group=pods.job_id,
        )
        self._warnings = Mirrors(
            cluster,
            ("v1", "events"),
            namespaces,
            fields="type=Warning",
            keep=_keep_event,
            group=lambda event: str(event["involvedObject"]["uid"]),
        )
        self._nodes = Mirror(cluster, path_of("v1", "nodes"), keep=room.keep)
        self._needed = [self._pods, self._jobs]
        self._wanted: list[Mirror | Mirrors] = [self._warnings, self._nodes]
        self._workloads: Mirrors | None = None
        self._queues = Queues(lambda: self._workloads.items() if self._workloads else ())
        if capabilities.kueue:
            self._follow_kueue(cluster, namespaces, capabilities.kueue)
        self._fates: dict[str, dict[tuple[str, int], Exit]] = {}
        self._homes: dict[str, str] = {}

    def _follow_kueue(self, cluster: Cluster, namespaces: Sequence[str], version: str) -> None:
        self._workloads = Mirrors(
            cluster,
            (version, "workloads"),
            namespaces,
            keep=_keep_workload,
            group=_owner,
            on_deleted=self._queues.gone,
        )
        self._wanted.append(self._workloads)

    def start(self) -> None:
        for mirror in (*self._needed, *self._wanted):
            mirror.start()

    def stop(self) -> None:
        for mirror in (*self._needed, *self._wanted):
            mirror.stop()

    @property
    def synced(self) -> bool:
        """True if pods and Jobs have been listed; the rest only helps to explain."""
        return all(mirror.synced for mirror in self._needed)

    def take_changed(self) -> set[str]:
        """Jobs of which pods or Jobs came, changed or went since this was asked last."""
        return self._pods.take_changed() | self._jobs.take_changed()

    def learn(self, job: Object) -> None:
        """A Job we have just made."""
        self._jobs.learn(job)

    def settle(self, job_id: str, namespace: str) -> None:
        """Say where a job has its objects: what names it elsewhere is not its.

        Whoever may write pods in the namespace of one project must not speak for jobs of others.
        """
        self._homes[job_id] = namespace

    def known(self) -> set[str]:
        """Jobs of which pods or Jobs are there."""
        return self._pods.groups() | self._jobs.groups()

    def remembered(self) -> set[str]:
        """Jobs of which it is still known how pods ended."""
        return set(self._fates)

    def forget(self, job_id: str) -> None:
        self._fates.pop(job_id, None)
        self._homes.pop(job_id, None)

    def all_pods(self) -> list[Object]:
        return self._pods.items()

    def pods(self, job_id: str) -> list[Object]:
        return self._at_home(job_id, self._pods.of(job_id))

    def jobs(self, job_id: str) -> list[Object]:
        return self._at_home(job_id, self._jobs.of(job_id))

    def _at_home(self, job_id: str, items: list[Object]) -> list[Object]:
        """The objects in the job's namespace; in any of them for a job that is not known."""
        home = self._homes.get(job_id)
        return [each for each in items if home in (None, each["metadata"]["namespace"])]

    def job(self, namespace: str, name: str) -> Object | None:
        """A Job as it is now."""
        return self._jobs.get(namespace, name)

    def nodes(self) -> list[Object]:
        """Nodes; empty where we may not see them."""
        return self._nodes.items()

    def free(self) -> Free | None:
        """Room on the nodes beside our own pods; None where nodes cannot be seen."""
        nodes = self._nodes.items()
        if not nodes:
            return None
        used = [
            (pod["spec"]["nodeName"], Need.of_pod(pod))
            for pod in self.all_pods()
            if pod["spec"]["nodeName"] and pods.alive(pod)
        ]
        return Free.of(nodes, used)

    def clusters(self) -> Iterator[tuple[str, str, int, list[Object]]]:
        """Jobs whose pods have gates or look for nodes: id, creation, members, pods."""
        seeking = {
            pods.job_id(pod)
            for pod in self._pods.items()
            if not pod["spec"]["nodeName"] and pods.alive(pod)
        }
        for job_id in seeking:
            jobs = self.jobs(job_id)
            total = sum(int(job["spec"].get("completions") or 1) for job in jobs)
            if total > 1 and not any(j["metadata"].get("deletionTimestamp") for j in jobs):
                over = sum(int((job.get("status") or {}).get("succeeded") or 0) for job in jobs)
                created = min(job["metadata"]["creationTimestamp"] for job in jobs)
                yield job_id, created, total - over, self.pods(job_id)

    def seen(self, job_id: str, *, held: str, refused: str) -> Seen:
        """Everything that may explain why a job does not start."""
        jobs, mine = self.jobs(job_id), self.pods(job_id)
        uids = [item["metadata"]["uid"] for item in (*jobs, *mine)]
        warnings = [event for uid in uids for event in self._warnings.of(uid)]
        warnings.sort(key=lambda event: event["at"])
        queued = self._workloads
        workloads = [each for uid in uids for each in queued.of(uid)] if queued else []
        # A name of ours among Kueue's fields, as `at` is among those of events.
        workloads = [each | {"place": self._queues.place(each)} for each in workloads]
        return Seen(jobs, mine, warnings, workloads, held, refused)

    def observed(self, job_ids: Iterable[str]) -> Iterator[Observed]:
        """Each incarnation of each member of these jobs; those before a living one are over."""
        for job_id in job_ids:
            there: dict[tuple[str, int], Observed] = {}
            for pod in self.pods(job_id):
                member = pods.member(pod)
                if member is None:
                    continue
                alive = pods.alive(pod)
                fate = None if alive else self._fate(pod)
                key = member.name, member.incarnation
                there[key] = Observed(job_id, member, alive, fate=fate)
                for before in range(max(1, key[1] - _MAX_BEFORE), key[1]):
                    old = with_changes(member, incarnation=before)
                    there.setdefault((member.name, before), Observed(job_id, old, alive=False))
            for (name, number), fate in list(self._fates.get(job_id, {}).items()):
                known = there.get((name, number))
                if known is None or not (known.alive or known.fate):
                    member = names.member_named(name, number)
                    there[name, number] = Observed(job_id, member, alive=False, fate=fate)
            yield from there.values()

    def _deleted(self, pod: Object) -> None:
        """Keep a deleted pod's last report; it is asked for until its job is forgotten."""
        job_id, member = pods.job_id(pod), pods.member(pod)
        if job_id and member is not None and self._at_home(job_id, [pod]):
            fates = self._fates.setdefault(job_id, {})
            fates[member.name, member.incarnation] = self._fate(pod)

    def _fate(self, pod: Object) -> Exit:
        """Return how a pod ended; one that Kueue has taken its place from was ended by its Job."""
        fate = pods.fate(pod)
        job = self._jobs.get(pod["metadata"]["namespace"], pods.job_name(pod))
        taken = job is not None and _suspended(job) and pod["metadata"]["deletionTimestamp"]
        if not taken or fate.exit_code == 0 or fate.oom:
            return fate
        fields = {"fault": "Kueue suspended the job", "infrastructure": True, "preempted": True}
        return with_changes(fate, **fields)


def _owner(workload: Object) -> str:
    """Uid of the Job a workload is for."""
    return next((str(owner["uid"]) for owner in workload["metadata"]["ownerReferences"]), "")


def _suspended(job: Object) -> bool:
    queued = names.QUEUE in (job["metadata"].get("labels") or {})
    return queued and bool(job["spec"].get("suspend"))


def _keep_job(job: Object) -> Object:
    meta, spec = job["metadata"], job["spec"]
    kept = ("completions", "suspend")
    named = (
        "namespace",
        "name",
        "uid",
        "resourceVersion",
        "labels",
        "annotations",
        "creationTimestamp",
        "deletionTimestamp",
    )
    return {
        "metadata": {key: meta[key] for key in named if key in meta},
        "spec": {key: spec[key] for key in kept if key in spec},
        "status": job.get("status") or {},
    }


def _keep_event(event: Object) -> Object:
    at = event.get("lastTimestamp") or event.get("eventTime")
    return {
        "metadata": {
            "namespace": event["metadata"]["namespace"],
            "name": event["metadata"]["name"],
            "resourceVersion": event["metadata"]["resourceVersion"],
        },
        "involvedObject": {"uid": event["involvedObject"].get("uid", "")},
        "reason": event.get("reason", ""),
        "message": event.get("message", ""),
        "at": at or event["metadata"].get("creationTimestamp") or "",
    }


def _keep_workload(workload: Object) -> Object:
    meta: dict[str, Any] = workload["metadata"]
    spec: dict[str, Any] = workload.get("spec") or {}
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": meta["name"],
            "resourceVersion": meta["resourceVersion"],
            "ownerReferences": meta.get("ownerReferences") or [],
            "creationTimestamp": meta.get("creationTimestamp") or "",
        },
        "spec": {k: spec[k] for k in ("queueName", "priority", "active") if k in spec},
        "status": workload.get("status") or {},
    }
