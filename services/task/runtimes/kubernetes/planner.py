"""What a job would be on this cluster, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from services.task.planning import Plan
from services.task.runtime import RuntimeUnavailable
from services.task.runtimes.kubernetes import manifests, names, room
from services.task.runtimes.kubernetes.allowed import Allowed
from services.task.runtimes.kubernetes.manifests import Template
from services.task.runtimes.kubernetes.room import Need
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
from shared.contracts import Fault, JobSubmit

_DRY = {"dryRun": "All"}


class KubernetesPlanner:
    """Plans for members that are pods.

    Args:
        cluster: asked for a dry run only.
        template: the installation's part of every object.
        view: the nodes, as they are.
        quotas: what one job may have.
        allowed: what jobs may name.
    """

    runtime: Literal["local", "kubernetes"] = "kubernetes"

    def __init__(
        self,
        cluster: Cluster,
        template: Template,
        view: View,
        quotas: Quotas,
        allowed: Allowed,
    ) -> None:
        self._cluster, self._template, self._view = cluster, template, view
        self._quotas, self._allowed = quotas, allowed

    def faults(self, submit: JobSubmit) -> tuple[Fault, ...]:
        """Everything wrong with a job here; asks nobody."""
        selector = self._template.node_selector
        return (
            *faults(submit, self._quotas),
            *self._allowed.faults(submit),
            *self._kinds(submit),
            *room.faults(submit, self._view.nodes(), selector),
        )

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
            fits_now=None if not self._view.nodes() else not found and not reason,
            waiting_reason=reason,
            checked=server,
        )

    def _kinds(self, submit: JobSubmit) -> Iterator[Fault]:
        """What this cluster or installation does not have."""
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
        if queue and len({submit.volumes_of(role) for role in submit.roles()}) > 1:
            problem = "a queued cluster is one Job: all roles must have the same volumes"
            yield Fault(field="volumes", problem=problem)
        named = all(submit.image_of(role) for role in submit.roles())
        if not named and not self._template.program_image:
            yield Fault(field="image", problem="the installation has no default image: name one")

    def _objects(self, submit: JobSubmit) -> Iterator[Object]:
        template = self._template
        yield manifests.secret(template, submit, "")
        queued = bool(template.queue_of(submit))
        for group, size in names.groups(submit, queued=queued).items():
            claims = manifests.claim_template(template, submit, group)
            if claims is not None:
                yield claims
            yield manifests.job(template, submit, group, size, base=0, owner_uid="")

    def _refusals(self, objects: Sequence[Object]) -> Iterator[Fault]:
        """What the API server says against the objects."""
        for each in objects:
            yield from self._refusal(each)

    def _refusal(self, item: Object) -> Iterator[Fault]:
        kind = item["kind"]
        try:
            path = path_of(item["apiVersion"], f"{kind.lower()}s", item["metadata"]["namespace"])
            self._cluster.create(path, item, **_DRY)
        except ClusterUnavailable as error:
            raise RuntimeUnavailable(str(error)) from error
        except Invalid as error:
            for field, problem in error.causes or (("", str(error)),):
                yield Fault(field=f"{kind}.{field}".strip("."), problem=problem)
        except ClusterError as error:
            yield Fault(field=kind, problem=str(error))

    def _waits(self, submit: JobSubmit) -> str:
        free = self._view.free()
        if free is None:
            return ""
        selector = self._template.node_selector
        needs = [
            Need.of(submit.resources_of(role), selector)
            for role, number in submit.roles().items()
            for _ in range(number)
        ]
        return "" if free.pack(needs) else "the nodes have no room for all of it now"

    def _notes(self, submit: JobSubmit) -> Iterator[str]:
        if not self._view.nodes():
            yield "nodes cannot be seen: whether it fits is not known (chart value rbac.nodes)"
        if self._template.queue_of(submit):
            yield "Kueue decides when it starts"
