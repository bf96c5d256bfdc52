"""Checks the images, classes, queues, volumes and Secrets of a job by allow-lists; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.task.settings import TaskSettings
from shared.contracts import (
    Container,
    EnvironmentSource,
    EnvironmentValue,
    Fault,
    JobSubmit,
    NfsExport,
    Resources,
    Role,
    Scheduling,
    Volume,
    memory_bytes,
)
from shared.contracts.pods import demand

ANY = "*"
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?::[0-9]+)?")
_HUB = "docker.io"
_NODE_STATES = "node.kubernetes.io/"
"""Taints for a node's state, which the platform's own tolerations cover."""


@dataclass(frozen=True)
class Allowed:
    """The objects that jobs may name, always including those of the installation itself.

    ``images`` are repositories, without tag, or what repositories begin with, ending in ``/``;
    ``*`` stands for all.
    """

    images: Sequence[str] = ()
    priority_classes: Sequence[str] = ()
    queues: Sequence[str] = ()
    claims: Sequence[str] = ()
    config_maps: Sequence[str] = ()
    secrets: Sequence[str] = ()
    nfs: Sequence[str] = ()
    """Exports, ``SERVER:/PATH``; what is below one is allowed with it."""
    host_paths: Sequence[str] = ()
    """Directories of the nodes; what is below one is allowed with it."""
    tolerations: Sequence[str] = ()
    """Keys of taints."""
    runtime_classes: Sequence[str] = ()
    service_accounts: Sequence[str] = ()
    host_network: bool = False
    storage: str = ""
    """The most that a container may take of its node's disk; empty: anything."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """The installation's conditions on every job's nodes."""

    @classmethod
    def of(cls, settings: TaskSettings) -> Allowed:
        """The names that the settings allow."""
        return cls(
            images=(*settings.allowed_images, settings.program_image),
            priority_classes=(*settings.allowed_priority_classes, settings.priority_class),
            queues=(*settings.allowed_queues, settings.queue),
            claims=settings.allowed_claims,
            config_maps=settings.allowed_config_maps,
            secrets=settings.allowed_secrets,
            nfs=settings.allowed_nfs,
            host_paths=settings.allowed_host_paths,
            tolerations=settings.allowed_tolerations,
            runtime_classes=settings.allowed_runtime_classes,
            service_accounts=settings.allowed_service_accounts,
            host_network=settings.allowed_host_network,
            storage=settings.program_storage,
            node_selector=settings.node_selector,
        )

    def faults(self, submit: JobSubmit) -> Iterator[Fault]:
        """The objects that a job names and may not."""
        yield from self._program(submit)
        yield from self._brought(submit)
        yield from self._scheduling("scheduling", submit.scheduling)
        for role, scheduling in submit.role_scheduling.items():
            yield from self._scheduling(f"role_scheduling.{role}", scheduling)
        for where, asked in _resources(submit):
            yield from self._storage(f"{where}.storage", asked.storage)
        for role in submit.roles():
            yield from self._storage_together(submit, role)

    def _program(self, submit: JobSubmit) -> Iterator[Fault]:
        """Images, priority and queue."""
        if submit.image is not None:
            yield from self._image("image", submit.image)
        for role, image in submit.role_images.items():
            yield from self._image(f"role_images.{role}", image)
        name = submit.priority_class
        if name and name.startswith("system-"):
            yield Fault(field="priority_class", problem="these are for the cluster's own pods")
        elif name and not {name, ANY} & {*self.priority_classes}:
            yield _not_allowed("priority_class", self.priority_classes, "ALLOWED_PRIORITY_CLASSES")
        if submit.queue and not {submit.queue, ANY} & {*self.queues}:
            yield _not_allowed("queue", self.queues, "ALLOWED_QUEUES")

    def _brought(self, submit: JobSubmit) -> Iterator[Fault]:
        """The features that its pods take from their namespace, and its own containers."""
        for number, volume in enumerate(submit.volumes):
            yield from self._volume(f"volumes.{number}", volume)
        yield from self._variables("", submit.env_from, submit.env_value_from)
        for number, each in enumerate(submit.containers):
            yield from self._container(f"containers.{number}", each)
        for name in submit.image_pull_secrets:
            if name not in self.secrets:
                yield _not_allowed("image_pull_secrets", self.secrets, "ALLOWED_SECRETS")
        account = submit.service_account
        if account is not None and account.name not in self.service_accounts:
            field = "service_account.name"
            yield _not_allowed(field, self.service_accounts, "ALLOWED_SERVICE_ACCOUNTS")
        if submit.host_network and not self.host_network:
            problem = "not allowed by this installation (BAROGRAPH_TASK_ALLOWED_HOST_NETWORK)"
            yield Fault(field="host_network", problem=problem)

    def _volume(self, field: str, volume: Volume) -> Iterator[Fault]:
        """The allowed sources of volumes."""
        if volume.claim is not None and not {volume.claim, ANY} & {*self.claims}:
            yield _not_allowed(f"{field}.claim", self.claims, "ALLOWED_CLAIMS")
        if volume.nfs is not None and not any(_exports(e, volume.nfs) for e in self.nfs):
            yield _not_allowed(f"{field}.nfs", self.nfs, "ALLOWED_NFS")
        path = volume.host_path
        if path is not None and not any(_lies_in(path, each) for each in self.host_paths):
            yield _not_allowed(f"{field}.host_path", self.host_paths, "ALLOWED_HOST_PATHS")
        yield from self._reference(field, volume)

    def _reference(
        self, field: str, source: Volume | EnvironmentSource | EnvironmentValue
    ) -> Iterator[Fault]:
        """The ConfigMap or Secret that is named of the jobs' namespace."""
        if source.config_map is not None and not {source.config_map, ANY} & {*self.config_maps}:
            yield _not_allowed(f"{field}.config_map", self.config_maps, "ALLOWED_CONFIG_MAPS")
        # No word stands for all Secrets: what other jobs' launchers are given is among them.
        if source.secret is not None and source.secret not in self.secrets:
            yield _not_allowed(f"{field}.secret", self.secrets, "ALLOWED_SECRETS")

    def _variables(
        self,
        prefix: str,
        sources: Sequence[EnvironmentSource],
        values: Sequence[EnvironmentValue],
    ) -> Iterator[Fault]:
        for number, source in enumerate(sources):
            yield from self._reference(f"{prefix}env_from.{number}", source)
        for number, value in enumerate(values):
            yield from self._reference(f"{prefix}env_value_from.{number}", value)

    def _container(self, field: str, container: Container) -> Iterator[Fault]:
        if container.image is not None:
            yield from self._image(f"{field}.image", container.image)
        yield from self._variables(f"{field}.", container.env_from, container.env_value_from)
        yield from self._storage(f"{field}.storage", container.storage)

    def _storage(self, field: str, asked: str | None) -> Iterator[Fault]:
        if asked and self.storage and memory_bytes(asked) > memory_bytes(self.storage):
            problem = f"at most {self.storage} are allowed (BAROGRAPH_TASK_PROGRAM_STORAGE)"
            yield Fault(field=field, problem=problem)

    def _storage_together(self, submit: JobSubmit, role: Role) -> Iterator[Fault]:
        """The disk space that a pod's own containers may take beside what its program asks for.

        Kubernetes evicts a pod by the sum of its containers' limits.
        """
        own = [(each.kind, memory_bytes(each.storage)) for each in submit.containers_of(role)]
        program = memory_bytes(submit.resources_of(role).storage or "0")
        most = memory_bytes(self.storage or "0")
        if own and most and demand(program, own) > most:
            problem = (
                f"those of {role} and its program may use {self.storage} together "
                "(BAROGRAPH_TASK_PROGRAM_STORAGE)"
            )
            yield Fault(field="containers", problem=problem)

    def _scheduling(self, field: str, asked: Scheduling) -> Iterator[Fault]:
        for name, value in asked.node_selector.items():
            own = self.node_selector.get(name, value)
            if own != value:
                problem = f"jobs of this installation run where {name} is {own}"
                yield Fault(field=f"{field}.node_selector.{name}", problem=problem)
        for number, each in enumerate(asked.tolerations):
            where = f"{field}.tolerations.{number}.key"
            if each.key.startswith(_NODE_STATES):
                problem = "how long a node may be unreachable is decided by the installation"
                yield Fault(field=where, problem=problem)
            elif not {each.key, ANY} & {*self.tolerations}:
                yield _not_allowed(where, self.tolerations, "ALLOWED_TOLERATIONS")
        name = asked.runtime_class or ""
        if name and name not in self.runtime_classes:
            where = f"{field}.runtime_class"
            yield _not_allowed(where, self.runtime_classes, "ALLOWED_RUNTIME_CLASSES")

    def _image(self, field: str, image: str) -> Iterator[Fault]:
        repository = repository_of(image)
        if repository is None:
            yield Fault(field=field, problem="not the name of a container image")
        elif not any(_covers(each, repository) for each in self.images if each):
            yield _not_allowed(field, self.images, "ALLOWED_IMAGES")


def _resources(submit: JobSubmit) -> Iterator[tuple[str, Resources]]:
    yield "resources", submit.resources
    for role, asked in submit.role_resources.items():
        yield f"role_resources.{role}", asked


def _lies_in(path: str, directory: str) -> bool:
    root = directory.rstrip("/")
    return path == (root or "/") or path.startswith(f"{root}/")


def _exports(allowed: str, asked: NfsExport) -> bool:
    server, _, path = allowed.partition(":/")
    return asked.server.lower() == server.lower() and _lies_in(asked.path, f"/{path}")


def repository_of(image: str) -> str | None:
    """An image's repository with its registry, as the container runtime reads it; None: none."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    parts = [*(head.split("/") if slash else []), last.partition(":")[0]]
    if not all(_COMPONENT.fullmatch(part) for part in parts):
        return None
    if len(parts) == 1:
        parts = [_HUB, "library", *parts]
    elif not ("." in parts[0] or ":" in parts[0] or parts[0] == "localhost"):
        parts = [_HUB, *parts]
    return "/".join(parts)


def _covers(allowed: str, repository: str) -> bool:
    if allowed == ANY:
        return True
    if allowed.endswith("/"):
        known = repository_of(f"{allowed}x")
        return known is not None and repository.startswith(known.removesuffix("x"))
    return repository_of(allowed) == repository


def _not_allowed(field: str, allowed: Sequence[str], setting: str) -> Fault:
    named = ", ".join(sorted({each for each in allowed if each})) or "none"
    problem = f"not allowed by this installation (allowed: {named}; BAROGRAPH_TASK_{setting})"
    return Fault(field=field, problem=problem)
