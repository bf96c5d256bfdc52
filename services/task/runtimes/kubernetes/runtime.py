"""The Kubernetes runtime: creates and watches an Indexed Job per role.

What is there is read from mirrors of the cluster; what is missing is asked for by a few threads, a
job at a time, and asked for again by the next pass if that failed. Nothing is remembered that a
restart could not do without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from services.task.runtime import Observed, Pending, RuntimeUnavailable
from services.task.runtimes.kubernetes import manifests, names, pending, pods
from services.task.runtimes.kubernetes.acts import Acts, Lane
from services.task.runtimes.kubernetes.gang import Gang, Keeper
from services.task.runtimes.kubernetes.pod_upkeep import PodUpkeep
from services.task.runtimes.kubernetes.template import Template
from services.task.runtimes.kubernetes.view import View
from services.task.spec import SPEC_FILE
from shared.cluster import (
    Cluster,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    NotFound,
    Object,
    path_of,
)
from shared.contracts import JobSubmit, Member

_RENEW_S = 12 * 3600.0
_LOOK_AT_ACCESS_S = 60.0


class KubernetesRuntime:
    """Runs members as pods, of a namespace for each project that has one.

    Args:
        cluster: the API server.
        template: the installation's part of every object.
        view: what is there; started by who made it.
        spec: the text of a job's Secret, with access to the store that is good for two days.
        gang_s: seconds an opened cluster's pods may look for nodes.
    """

    def __init__(
        self,
        cluster: Cluster,
        template: Template,
        view: View,
        spec: Callable[[JobSubmit], str],
        gang_s: float,
    ) -> None:
        self._cluster, self._template, self._view = cluster, template, view
        self._spec = spec
        self._keeper = Keeper(gang_s)
        self._held: Mapping[str, str] = {}
        self._overdue: set[str] = set()
        self._refused: dict[str, str] = {}
        self._renewed: dict[str, float] = {}
        self._submits: dict[str, JobSubmit] = {}
        self._renewing_at = 0.0
        self._ending: set[str] = set()
        """Jobs that are to have no members."""
        self._cleared: set[str] = set()
        """Jobs being removed whose Secret is gone."""
        self._acts = Acts()
        self._pods = PodUpkeep(cluster, view, self._acts)

    # The port

    def start(self, submit: JobSubmit, members: Sequence[Member]) -> None:
        """See that the Jobs exist that make these incarnations."""
        self._submits[submit.job_id] = submit
        self._view.settle(submit.job_id, self._template.namespace_of(submit))
        # Its id may be that of a job which was swept before.
        self._cleared.discard(submit.job_id)
        if members:
            self._ending.discard(submit.job_id)
        if any(self._lacking(submit, members)):
            act = partial(self._ensure, submit, members)
            self._acts.do(Lane.LAUNCH, _start_of(submit.job_id), act)
        else:
            self._refused.pop(submit.job_id, None)

    def changed(self) -> set[str]:
        return self._view.take_changed()

    def observe(self, job_ids: Collection[str] | None = None) -> list[Observed]:
        """Every incarnation the cluster knows, or has shown us before it was deleted.

        Raises:
            RuntimeUnavailable: before the cluster has been listed once.
        """
        if not self._view.synced:
            raise RuntimeUnavailable("the cluster has not been listed yet")
        self._pods.bury()
        self._open_gangs()
        self._pods.mark()
        if time.monotonic() >= self._renewing_at:
            self._renewing_at = time.monotonic() + _LOOK_AT_ACCESS_S
            self._renew()
        return list(self._view.observed(self.known() if job_ids is None else job_ids))

    def known(self) -> set[str]:
        return self._view.known() | self._view.remembered()

    def pending(self, job_id: str) -> Pending | None:
        if job_id in self._overdue:
            return pending.given_back()
        held, refused = self._held.get(job_id, ""), self._refused.get(job_id, "")
        return pending.dominant(self._view.seen(job_id, held=held, refused=refused))

    def stop(self, job_id: str, member: Member, grace_s: float) -> None:
        """Delete the incarnation's pod; its grace is the pod's own."""
        for pod in self._view.pods(job_id):
            of_pod = pods.member(pod)
            leaving = pod["metadata"].get("deletionTimestamp")
            if of_pod == member and pods.alive(pod) and not leaving:
                self._delete(pod, self._pods.path(pod))

    def end(self, job_id: str, members: Sequence[Member], grace_s: float) -> None:
        """Delete the job's Jobs, and so its pods; what waits to be made is not made."""
        self._ending.add(job_id)
        for job in self._view.jobs(job_id):
            if not job["metadata"].get("deletionTimestamp"):
                self._delete(job, _path_of_item("batch/v1", "jobs", job))

    def remove(self, job_id: str) -> bool:
        """Delete everything that carries the job's mark; True when nothing is left."""
        if job_id in self._cleared and job_id not in self._view.known():
            for memory in (self._refused, self._renewed, self._submits):
                memory.pop(job_id, None)
            self._cleared.discard(job_id)
            self._ending.discard(job_id)
            self._view.forget(job_id)
            return True
        self.end(job_id, (), 0.0)
        # Objects that a start under way still makes are to go, too.
        if job_id not in self._cleared and not self._acts.under_way(_start_of(job_id)):
            self._acts.do(Lane.TIDY, f"remove {job_id}", lambda: self._remove_rest(job_id))
        return False

    def close(self) -> None:
        """Stop watching and acting; what was begun is finished."""
        self._acts.close()
        self._view.stop()
        self._cluster.close()

    # Acts, in threads

    def _lacking(
        self, submit: JobSubmit, members: Sequence[Member]
    ) -> Iterator[tuple[str, Object | None, int]]:
        """Jobs that will not make these incarnations: group, what is there, base."""
        queued = bool(self._template.queue_of(submit))
        wanted: dict[str, dict[int, Member]] = {}
        for member in members:
            group, index = names.place_of(submit, member, queued=queued)
            wanted.setdefault(group, {})[index] = member
        for group, indexes in wanted.items():
            name = names.group_name(submit.job_id, group)
            job = self._view.job(self._template.namespace_of(submit), name)
            if job is None or (
                not job["metadata"].get("deletionTimestamp") and pods.idle(job, indexes)
            ):
                base = max(member.incarnation for member in indexes.values()) - 1
                yield group, job, base

    def _ensure(self, submit: JobSubmit, members: Sequence[Member]) -> None:
        if submit.job_id in self._ending:
            return  # since this waits for a thread
        sizes = names.groups(submit, queued=bool(self._template.queue_of(submit)))
        owner = ""
        try:
            for group, job, base in self._lacking(submit, members):
                if job is None:
                    owner = owner or self._begun(submit)
                    self._create(submit, group, sizes[group], base, owner)
                else:
                    # It will not make these pods any more: begin it again, after all before.
                    self._delete(job, _path_of_item("batch/v1", "jobs", job))
        except ClusterUnavailable:
            raise
        except ClusterError as error:
            self._refused[submit.job_id] = str(error)
            raise
        self._refused.pop(submit.job_id, None)

    def _begun(self, submit: JobSubmit) -> str:
        """Make what all groups of a job share; return the id of the Secret that owns the rest."""
        owner = self._secret(submit)
        names_of_members = manifests.service(self._template, submit, owner_uid=owner)
        if names_of_members is not None:
            self._make(self._path(submit, "v1", "services"), names_of_members)
        return owner

    def _create(
        self, submit: JobSubmit, group: str, completions: int, base: int, owner: str
    ) -> None:
        claims = manifests.claim_template(self._template, submit, group, owner_uid=owner)
        if claims is not None:
            self._make(self._path(submit, "resource.k8s.io/v1", "resourceclaimtemplates"), claims)
        body = manifests.job(self._template, submit, group, completions, base=base, owner_uid=owner)
        made = self._make(self._path(submit, "batch/v1", "jobs"), body)
        if made is not None:
            self._view.learn(made)

    def _make(self, path: str, body: Object) -> Object | None:
        """Create; None when it exists."""
        try:
            return self._cluster.create(path, body)
        except Conflict:
            return None

    def _secret(self, submit: JobSubmit) -> str:
        """The uid of the job's Secret, made if it is not there."""
        body = manifests.secret(self._template, submit, self._spec(submit))
        path = self._path(submit, "v1", "secrets")
        made = self._make(path, body)
        if made is None:
            made = self._cluster.get(f"{path}/{body['metadata']['name']}")
        self._renewed[submit.job_id] = time.monotonic()
        return str(made["metadata"]["uid"])

    def _delete(self, item: Object, path: str) -> None:
        uid = item["metadata"]["uid"]

        def act() -> None:
            try:
                self._cluster.delete(path, preconditions={"uid": uid})
            except (NotFound, Conflict):
                pass  # gone, or another one of the same name

        self._acts.do(Lane.END, f"delete {uid}", act)

    def _remove_rest(self, job_id: str) -> None:
        """Remove the Secret, with which Kubernetes removes everything else that it owns.

        Of a job that was begun before this process nobody knows the project any more.
        """
        secret = names.base_name(job_id)
        for namespace in self._template.namespaces:
            # In a project's namespace that is gone, or that was taken from us, nothing is ours.
            with suppress(NotFound, Forbidden):
                self._cluster.delete(path_of("v1", "secrets", namespace, secret))
        self._cleared.add(job_id)

    def _open_gangs(self) -> None:
        gangs = [
            Gang(job_id, created, total, [p for p in members if pods.alive(p)])
            for job_id, created, total, members in self._view.clusters()
        ]
        free = self._view.free() if gangs else None
        opening, self._held, self._overdue = self._keeper.decide(gangs, free, time.monotonic())
        self._keeper.forget({gang.job_id for gang in gangs})
        for gang in opening:
            self._acts.do(Lane.LAUNCH, f"open {gang.job_id}", partial(self._pods.open, gang.gated))

    def _renew(self) -> None:
        """Presigned access expires; the kubelet brings a changed Secret into running pods.

        Of jobs that were there before this process, nobody knows how old theirs is.
        """
        now = time.monotonic()
        for job_id, submit in list(self._submits.items()):
            last = self._renewed.get(job_id)
            if self._view.jobs(job_id) and (last is None or now - last > _RENEW_S):
                self._acts.do(Lane.TIDY, f"renew {job_id}", partial(self._renew_one, submit))

    def _renew_one(self, submit: JobSubmit) -> None:
        path = self._path(submit, "v1", "secrets", names.base_name(submit.job_id))
        self._cluster.patch(path, {"stringData": {SPEC_FILE: self._spec(submit)}})
        # Only now: what failed is tried again in a minute, not when the access has expired.
        self._renewed[submit.job_id] = time.monotonic()

    def _path(self, submit: JobSubmit, version: str, kind: str, name: str = "") -> str:
        return path_of(version, kind, self._template.namespace_of(submit), name)


def _path_of_item(version: str, kind: str, item: Object) -> str:
    return path_of(version, kind, item["metadata"]["namespace"], item["metadata"]["name"])


def _start_of(job_id: str) -> str:
    return f"start {job_id}"
