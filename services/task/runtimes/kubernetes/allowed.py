"""Which images, classes, queues, volumes and Secrets a job may name here; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.task.settings import TaskSettings
from shared.contracts import EnvironmentSource, Fault, JobSubmit, Volume

ANY = "*"
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?::[0-9]+)?")
_HUB = "docker.io"


@dataclass(frozen=True)
class Allowed:
    """What jobs may name; what the installation itself names is always among it.

    ``images`` are repositories, without tag, or what repositories begin with, ending in ``/``;
    ``*`` stands for all.
    """

    images: Sequence[str] = ()
    priority_classes: Sequence[str] = ()
    queues: Sequence[str] = ()
    claims: Sequence[str] = ()
    config_maps: Sequence[str] = ()
    secrets: Sequence[str] = ()

    @classmethod
    def of(cls, settings: TaskSettings) -> Allowed:
        """As the settings say."""
        return cls(
            images=(*settings.allowed_images, settings.program_image),
            priority_classes=(*settings.allowed_priority_classes, settings.priority_class),
            queues=(*settings.allowed_queues, settings.queue),
            claims=settings.allowed_claims,
            config_maps=settings.allowed_config_maps,
            secrets=settings.allowed_secrets,
        )

    def faults(self, submit: JobSubmit) -> Iterator[Fault]:
        """What a job names and may not."""
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
        for number, volume in enumerate(submit.volumes):
            yield from self._reference(f"volumes.{number}", volume)
        for number, source in enumerate(submit.env_from):
            yield from self._reference(f"env_from.{number}", source)
        for name in submit.image_pull_secrets:
            if name not in self.secrets:
                yield _not_allowed("image_pull_secrets", self.secrets, "ALLOWED_SECRETS")

    def _reference(self, field: str, source: Volume | EnvironmentSource) -> Iterator[Fault]:
        """What a volume or a source of variables names of the jobs' namespace."""
        claim = source.claim if isinstance(source, Volume) else None
        if claim is not None and not {claim, ANY} & {*self.claims}:
            yield _not_allowed(f"{field}.claim", self.claims, "ALLOWED_CLAIMS")
        if source.config_map is not None and not {source.config_map, ANY} & {*self.config_maps}:
            yield _not_allowed(f"{field}.config_map", self.config_maps, "ALLOWED_CONFIG_MAPS")
        # No word stands for all Secrets: what other jobs' launchers are told is among them.
        if source.secret is not None and source.secret not in self.secrets:
            yield _not_allowed(f"{field}.secret", self.secrets, "ALLOWED_SECRETS")

    def _image(self, field: str, image: str) -> Iterator[Fault]:
        repository = repository_of(image)
        if repository is None:
            yield Fault(field=field, problem="not the name of a container image")
        elif not any(_covers(each, repository) for each in self.images if each):
            yield _not_allowed(field, self.images, "ALLOWED_IMAGES")


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
