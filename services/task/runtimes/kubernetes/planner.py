"""Plans jobs on this cluster, with every reason against them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Literal

import structlog

from services.task.planning import Plan
from services.task.runtime import RuntimeUnavailable
from services.task.runtimes.kubernetes import manifests, names, room
from services.task.runtimes.kubernetes.allowed import Allowed
from services.task.runtimes.kubernetes.room import Need
from services.task.runtimes.kubernetes.template import Template
from services.task.runtimes.kubernetes.view import View
from services.task.validation import Quotas, faults
from shared.cluster import (
    Cluster,
    ClusterError,
    ClusterUnavailable,
    Invalid,
    Object,
    path_of,
)
from shared.contracts import Fault, JobSubmit, Role

log = structlog.get_logger(__name__)

_DRY = {"dryRun": "All"}
_DRY_S = 5.0
"""Seconds the API server may take to check an object of a job that somebody submits."""
_REST_S = 30.0
"""Seconds it is not asked again after it did not answer: submits must not wait for it in turn."""
_QUOTA = "exceeded quota"
_NOT_ABOUT_THE_JOB = {HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT}
"""A token that is just being renewed, or an object of an earlier job that is not quite gone."""
_NO_RIGHT = "cannot create resource"
_BY_ROLE: dict[str, Callable[[JobSubmit, Role], object]] = {
    "volumes": JobSubmit.volumes_of,
    "env_from": JobSubmit.env_from_of,
    "env_value_from": JobSubmit.env_value_from_of,
    "containers": JobSubmit.containers_of,
    "role_scheduling": JobSubmit.scheduling_of,
}


class KubernetesPlanner:
    """Plans for members that are pods.

    Args:
        cluster: asked for a dry run only.
        template: the installation's part of every object.
        view: the nodes, as they are.
        quotas: what one job may have.
        allowed: what jobs may name.
        now: seconds that only go on.
    """

    runtime: Literal["local", "kubernetes"] = "kubernetes"

    def __init__(
        self,
        cluster: Cluster,
        template: Template,
        view: View,
        quotas: Quotas,
        allowed: Allowed,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._template, self._view = cluster, template, view
        self._quotas, self._allowed = quotas, allowed
        self._now = now
        self._not_before = 0.0

    def faults(self, submit: JobSubmit) -> tuple[Fault, ...]:
        """Everything wrong with a job here; asks nobody."""
        return (
            *faults(submit, self._quotas),
            *self._allowed.faults(submit),
            *self._kinds(submit),
            *room.faults(submit, self._view.nodes(), self._template),
        )

    def refusals(self, submit: JobSubmit) -> tuple[Fault, ...]:
        """Return the reasons to refuse a submit: our own rules', or else the API server's."""
        found = self.faults(submit)
        if found or self._now() < self._not_before:
            return found
        try:
            return tuple(self._refusals(list(self._objects(submit))))
        except RuntimeUnavailable as error:
            self._not_before = self._now() + _REST_S
            log.warning("submit_not_checked", job=submit.job_id, error=str(error))
            return ()

    def plan(self, submit: JobSubmit, *, server: bool) -> Plan:
        """Validation, room, and with ``server`` the API server's dry run of every object.

        Raises:
            RuntimeUnavailable: when the API server does not answer.
        """
        found = self.faults(submit)
        objects = list(self._objects(submit))
        if server and not found:
            found = tuple(self._refusals(objects))
        reason = "" if found else self._waits(submit)
        return Plan(
            faults=found,
            notes=tuple(self._notes(submit)),
            manifests=tuple(each for each in objects if each["kind"] != "Secret"),
            fits_now=self._fits_now(submit, refused=bool(found or reason)),
            waiting_reason=reason,
            checked=server,
        )

    def _kinds(self, submit: JobSubmit) -> Iterator[Fault]:
        """The features that this cluster or installation does not have."""
        queue, able = self._template.queue_of(submit), self._view.capabilities
        if queue and not able.kueue:
            yield Fault(field="queue", problem="Kueue is not installed in this cluster")
        own = {submit.resources_of(role) for role in submit.roles()}
        if queue and len(own) > 1:
            problem = "a queued cluster is one Job: all roles must ask for the same"
            yield Fault(field="role_resources", problem=problem)
        for each in own:
            if each.device_class and not able.claims:
                problem = f"Kubernetes {able.version} has no dynamic resource allocation (v1)"
                yield Fault(field="resources.device_class", problem=problem)
        if queue and len({submit.image_of(role) for role in submit.roles()}) > 1:
            problem = "a queued cluster is one Job: all roles must have the same image"
            yield Fault(field="role_images", problem=problem)
        for field, of in _BY_ROLE.items():
            values = [of(submit, role) for role in submit.roles()]
            if queue and any(value != values[0] for value in values):
                problem = f"a queued cluster is one Job: all roles must have the same {field}"
                yield Fault(field=field, problem=problem)
        named = all(submit.image_of(role) for role in submit.roles())
        if not named and not self._template.program_image:
            yield Fault(field="image", problem="the installation has no default image: name one")

    def _objects(self, submit: JobSubmit) -> Iterator[Object]:
        template = self._template
        yield manifests.secret(template, submit, "")
        names_of_members = manifests.service(template, submit, owner_uid="")
        if names_of_members is not None:
            yield names_of_members
        queued = bool(template.queue_of(submit))
        for group, size in names.groups(submit, queued=queued).items():
            claims = manifests.claim_template(template, submit, group, owner_uid="")
            if claims is not None:
                yield claims
            yield manifests.job(template, submit, group, size, base=0, owner_uid="")

    def _refusals(self, objects: Sequence[Object]) -> Iterator[Fault]:
        """The API server's objections to the objects, and to the pods of the Jobs.

        Only of pods it looks at what they name and at the namespace's Pod Security level.
        """
        found: dict[Fault, None] = {}
        for each in objects:
            found |= dict.fromkeys(self._refusal(each))
        for each in objects:
            if each["kind"] == "Job" and not found:
                found |= dict.fromkeys(self._refusal(_first_pod(each)))
        yield from found

    def _refusal(self, item: Object) -> Iterator[Fault]:
        kind = item["kind"]
        try:
            path = path_of(item["apiVersion"], f"{kind.lower()}s", item["metadata"]["namespace"])
            self._cluster.create(path, item, timeout_s=_DRY_S, **_DRY)
        except ClusterUnavailable as error:
            raise RuntimeUnavailable(str(error)) from error
        except Invalid as error:
            for field, problem in error.causes or (("", str(error)),):
                yield Fault(field=f"{kind}.{field}".strip("."), problem=problem)
        except ClusterError as error:
            # A quota that is full today may be free tomorrow; who may make Jobs need not make pods.
            passes = _QUOTA in str(error) or (kind == "Pod" and _NO_RIGHT in str(error))
            if not passes and error.status not in _NOT_ABOUT_THE_JOB:
                yield Fault(field=kind, problem=str(error))

    def _waits(self, submit: JobSubmit) -> str:
        free = self._view.free()
        if free is None:
            return ""
        needs = [
            Need.of(self._template, submit, role)
            for role, number in submit.roles().items()
            for _ in range(number)
        ]
        return "" if free.pack(needs) else "the nodes have no room for all of it now"

    def _fits_now(self, submit: JobSubmit, *, refused: bool) -> bool | None:
        """Return whether all of it could start now; None where only the scheduler knows."""
        if not self._view.nodes():
            return None
        return None if _claims(submit) and not refused else not refused

    def _notes(self, submit: JobSubmit) -> Iterator[str]:
        if not self._view.nodes():
            yield "nodes cannot be seen: whether it fits is not known (chart value rbac.nodes)"
        if _claims(submit):
            yield "it claims devices: whether enough of them are free, only the scheduler knows"
        if self._template.queue_of(submit):
            yield "Kueue decides when it starts"


def _claims(submit: JobSubmit) -> bool:
    asked = [submit.resources_of(role) for role in submit.roles()]
    return any(each.device_class and each.gpu for each in asked)


def _first_pod(job: Object) -> Object:
    """A pod as the Job would make it."""
    made = job["spec"]["template"]
    place = {"name": f"{job['metadata']['name']}-0", "namespace": job["metadata"]["namespace"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**made["metadata"], **place},
        "spec": made["spec"],
    }
