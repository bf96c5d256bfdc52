"""What a job's program finds in its pods beside its package: volumes and settings by reference.

A job names objects of the jobs' namespace; what they hold never passes through the broker.
"""

from __future__ import annotations

import posixpath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from shared.contracts.message import Part, RelativePath
from shared.contracts.names import KubernetesName, MemoryQuantity, Role

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where programs look for it, in a pod of their own
_RESERVED = ("/barograph", "/proc", "/sys", "/dev", "/var/run/secrets", "/run/secrets")


def _check_mount_path(path: str) -> str:
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
        raise ValueError("must be a whole path such as /mnt/data, without '.', '..' or a '/' last")
    if path == "/" or not path.isprintable() or ":" in path:
        raise ValueError("must be a directory below /, without ':' and control characters")
    below = any(path == each or path.startswith(f"{each}/") for each in _RESERVED)
    if below and path != _SHARED_MEMORY:
        raise ValueError(f"is reserved: {', '.join(_RESERVED)}; only {_SHARED_MEMORY} is free")
    return path


MountPath = Annotated[str, Field(max_length=1024), AfterValidator(_check_mount_path)]


class EmptyDirectory(Part):
    """A directory that a pod begins with empty and that goes with it."""

    size: MemoryQuantity = Field(
        default="1Gi", description="The most it may hold; a pod that puts in more is ended."
    )
    memory: bool = Field(
        default=False, description="In memory, which counts as the container's own."
    )


class Volume(Part):
    """A directory for the program, from one source: an object of the jobs' namespace, or none."""

    path: MountPath = Field(description="Where the program finds it.", examples=["/mnt/data"])
    claim: KubernetesName | None = Field(
        default=None, description="A PersistentVolumeClaim; shared by all members that mount it."
    )
    config_map: KubernetesName | None = Field(default=None, description="A ConfigMap's files.")
    secret: KubernetesName | None = Field(default=None, description="A Secret's files.")
    empty: EmptyDirectory | None = Field(default=None, description="An empty directory.")
    sub_path: RelativePath | None = Field(
        default=None, description="Only this directory or file of it."
    )
    read_only: bool = Field(default=False, description="Whether the program may not write to it.")
    roles: tuple[Role, ...] = Field(
        default=(), max_length=len(Role), description="Whose members have it; default: all."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Volume:
        sources = (self.claim, self.config_map, self.secret, self.empty)
        if sum(each is not None for each in sources) != 1:
            raise ValueError("needs one of claim, config_map, secret and empty")
        return self


class EnvironmentSource(Part):
    """Variables from an object of the jobs' namespace; the job's own variables win."""

    config_map: KubernetesName | None = Field(default=None, description="A ConfigMap's entries.")
    secret: KubernetesName | None = Field(default=None, description="A Secret's entries.")
    prefix: Annotated[str, Field(max_length=64, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = Field(
        default="", description="What is put before each name."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> EnvironmentSource:
        if (self.config_map is None) == (self.secret is None):
            raise ValueError("needs one of config_map and secret")
        return self
