"""Volumes and variables of a job's pods that refer to objects of the cluster.

A job names objects of the jobs' namespace; what they hold never passes through the broker.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from shared.contracts.job_parts import EnvironmentName
from shared.contracts.message import Part, RelativePath
from shared.contracts.names import KubernetesName, LabelKey, MemoryQuantity, Role

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where programs look for it, in a pod of their own
_RESERVED = ("/barograph", "/proc", "/sys", "/dev", "/var/run/secrets", "/run/secrets")


def _check_whole(path: str) -> str:
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
        raise ValueError("must be a whole path such as /mnt/data, without '.', '..' or a '/' last")
    if not path.isprintable():
        raise ValueError("must be without control characters")
    return path


def _check_mount_path(path: str) -> str:
    if _check_whole(path) == "/" or ":" in path:
        raise ValueError("must be a directory below /, without ':' and control characters")
    below = any(path == each or path.startswith(f"{each}/") for each in _RESERVED)
    if below and path != SHARED_MEMORY:
        raise ValueError(f"is reserved: {', '.join(_RESERVED)}; only {SHARED_MEMORY} is free")
    return path


WholePath = Annotated[str, Field(max_length=1024), AfterValidator(_check_whole)]
MountPath = Annotated[str, Field(max_length=1024), AfterValidator(_check_mount_path)]
PartName = Annotated[
    str, Field(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", examples=["scratch"])
]
"""The name of a volume or of a container within its pod: a DNS label."""
ObjectKey = Annotated[
    str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", examples=["password"])
]
"""A key of a Secret or a ConfigMap."""
Roles = Annotated[tuple[Role, ...], Field(max_length=len(Role))]


class EmptyDirectory(Part):
    """A directory that is empty when a pod starts and deleted with it."""

    size: MemoryQuantity = Field(
        default="1Gi", description="Its size limit; a pod that exceeds it is evicted."
    )
    memory: bool = Field(
        default=False, description="True: it is in memory, which counts towards the container's."
    )


class NfsExport(Part):
    """A directory that an NFS server exports."""

    server: Annotated[
        str, Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$")
    ] = Field(description="The server's name or address.", examples=["nfs.example"])
    path: WholePath = Field(description="The exported directory.", examples=["/exports/sets"])


_SOURCES = ("claim", "config_map", "secret", "empty", "nfs", "host_path")


class Volume(Part):
    """A directory for the program, from one source: an object of the jobs' namespace, a server's or
    the node's directory, or an empty one.
    """

    path: MountPath | None = Field(
        default=None,
        description="The path in the program's container; omitted if only `containers` mount it.",
        examples=["/mnt/data"],
    )
    name: PartName | None = Field(
        default=None,
        description="The name by which `containers` mount it. Within a role, entries with the "
        "same name are one volume, mounted at several paths.",
    )
    claim: KubernetesName | None = Field(
        default=None, description="A PersistentVolumeClaim; shared by all members that mount it."
    )
    config_map: KubernetesName | None = Field(default=None, description="A ConfigMap's files.")
    secret: KubernetesName | None = Field(default=None, description="A Secret's files.")
    empty: EmptyDirectory | None = Field(default=None, description="An empty directory.")
    nfs: NfsExport | None = Field(default=None, description="A directory of an NFS server.")
    host_path: WholePath | None = Field(
        default=None, description="A directory of the member's node; requires `read_only`."
    )
    items: dict[ObjectKey, RelativePath] = Field(
        default_factory=dict,
        max_length=64,
        description="Only these keys of the ConfigMap or Secret, each with the name of its file.",
    )
    optional: bool = Field(
        default=False,
        description="True: pods start even if the ConfigMap or Secret does not exist.",
    )
    sub_path: RelativePath | None = Field(
        default=None, description="Only this directory or file of it."
    )
    read_only: bool = Field(default=False, description="True: the program may not write to it.")
    roles: Roles = Field(default=(), description="The roles whose members have it; by default all.")

    @model_validator(mode="after")
    def _has_one_source(self) -> Volume:
        faults = []
        if sum(getattr(self, each) is not None for each in _SOURCES) != 1:
            faults.append(f"needs one of {', '.join(_SOURCES)}")
        if self.path is None and self.name is None:
            faults.append("needs a path, a name, or both")
        if self.host_path is not None and not self.read_only:
            faults.append("host_path: a node's directory is read only; set read_only: true")
        if self.config_map is None and self.secret is None and (self.items or self.optional):
            faults.append("items, optional: only a ConfigMap's or Secret's")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def source(self) -> dict[str, object]:
        """The volume's source; volumes of one name must not differ in it."""
        return self.model_dump(include={*_SOURCES, "items", "optional"})


class EnvironmentSource(Part):
    """Environment variables from an object of the namespace; the job's own take precedence."""

    config_map: KubernetesName | None = Field(default=None, description="A ConfigMap's entries.")
    secret: KubernetesName | None = Field(default=None, description="A Secret's entries.")
    prefix: Annotated[str, Field(max_length=64, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = Field(
        default="", description="A prefix for each name."
    )
    optional: bool = Field(default=False, description="True: pods start without the object.")
    roles: Roles = Field(
        default=(), description="The roles whose members have them; by default all."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> EnvironmentSource:
        if (self.config_map is None) == (self.secret is None):
            raise ValueError("needs one of config_map and secret")
        return self


def faults_of_volumes(
    role: Role, volumes: Sequence[Volume], others: Sequence[str]
) -> Iterator[str]:
    """Two of a role's volumes at the same place, and two of one name that are not one.

    ``others`` are places that are taken without a volume.
    """
    paths = [*others, *(each.path for each in volumes if each.path is not None)]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f"volumes: more than one of {role} is at {path}"
    for name in sorted({each.name for each in volumes if each.name is not None}):
        sources = [each.source for each in volumes if each.name == name]
        if any(source != sources[0] for source in sources):
            yield f"volumes: those of {role} with the name {name} are from different sources"


PodField = Annotated[
    Literal[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.podIP",
        "status.podIPs",
    ],
    Field(description="A field of the pod."),
]
ContainerResource = Literal[
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
]


class EnvironmentValue(Part):
    """A variable whose value Kubernetes provides: an object's entry, or a property of the pod."""

    name: EnvironmentName = Field(description="The variable's name.")
    secret: KubernetesName | None = Field(default=None, description="A Secret; requires `key`.")
    config_map: KubernetesName | None = Field(
        default=None, description="A ConfigMap; requires `key`."
    )
    key: ObjectKey | None = Field(default=None, description="The entry of that object.")
    optional: bool = Field(default=False, description="True: pods start without that entry.")
    field: PodField | None = Field(default=None, description="A field of the pod.")
    label: LabelKey | None = Field(default=None, description="A label of the pod.")
    annotation: LabelKey | None = Field(default=None, description="An annotation of the pod.")
    resource: ContainerResource | None = Field(
        default=None, description="A limit or request of the container."
    )
    roles: Roles = Field(default=(), description="The roles whose members have it; by default all.")

    @model_validator(mode="after")
    def _has_one_source(self) -> EnvironmentValue:
        sources = ("secret", "config_map", "field", "label", "annotation", "resource")
        given = [each for each in sources if getattr(self, each) is not None]
        if len(given) != 1:
            raise ValueError(f"needs one of {', '.join(sources)}")
        if (given[0] in {"secret", "config_map"}) != (self.key is not None):
            raise ValueError("key: belongs to a secret or a config_map, which need it")
        return self
