"""The placement of a job's pods, and containers in addition to the program's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from shared.contracts.job_parts import ContainerImage, Environment
from shared.contracts.message import Part, RelativePath
from shared.contracts.names import KubernetesName, LabelKey, LabelValue, MemoryQuantity, Role
from shared.contracts.volumes import (
    EnvironmentSource,
    EnvironmentValue,
    MountPath,
    PartName,
    Roles,
    Volume,
    WholePath,
)

_TAKEN = frozenset({"fetch", "launcher", "program"})
"""Names of the containers that every member's pod has."""


class Toleration(Part):
    """A taint of nodes that members tolerate."""

    key: LabelKey = Field(description="The taint's key.", examples=["nvidia.com/gpu"])
    operator: Literal["Exists", "Equal"] = Field(
        default="Exists",
        description="`Exists` tolerates any value of the taint, `Equal` only `value`.",
    )
    value: LabelValue = Field(default="", description="The taint's value, with `Equal`.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect; by default every effect."
    )
    seconds: int | None = Field(
        default=None,
        ge=0,
        description="The seconds for which `NoExecute` is tolerated; by default forever.",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError("value: only with operator Equal")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds: only with effect NoExecute")
        return self


class NodeExpression(Part):
    """A condition on one label of a node."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = "In"
    values: tuple[LabelValue, ...] = Field(default=(), max_length=64)

    @model_validator(mode="after")
    def _has_its_values(self) -> NodeExpression:
        if self.operator in {"In", "NotIn"} and not self.values:
            raise ValueError(f"values: {self.operator} needs at least one")
        if self.operator in {"Exists", "DoesNotExist"} and self.values:
            raise ValueError(f"values: {self.operator} has none")
        numbers = [value for value in self.values if value.isascii() and value.isdecimal()]
        if self.operator in {"Gt", "Lt"} and (len(self.values), len(numbers)) != (1, 1):
            raise ValueError(f"values: {self.operator} needs one whole number")
        return self


class NodeTerm(Part):
    """Nodes that meet all of these expressions."""

    expressions: tuple[NodeExpression, ...] = Field(min_length=1, max_length=32)


class PreferredNodes(NodeTerm):
    """Nodes that are preferred to others."""

    weight: int = Field(default=100, ge=1, le=100, description="The weight of the preference.")


class TopologySpread(Part):
    """The even distribution of a job's members over zones, racks or nodes."""

    topology_key: LabelKey = Field(description="The node label whose values are compared.")
    max_skew: int = Field(
        default=1, ge=1, description="The largest difference in the number of members."
    )
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"
    min_domains: int | None = Field(
        default=None,
        ge=1,
        description="The minimum number of values, with `DoNotSchedule`.",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> TopologySpread:
        if self.min_domains is not None and self.when_unsatisfiable != "DoNotSchedule":
            raise ValueError("min_domains: only with when_unsatisfiable DoNotSchedule")
        return self


class Scheduling(Part):
    """The nodes on which members run, within what the installation allows."""

    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that the nodes must have."
    )
    node_terms: tuple[NodeTerm, ...] = Field(
        default=(),
        max_length=16,
        description="Conditions, one of which the nodes must meet (required node affinity).",
    )
    preferred_nodes: tuple[PreferredNodes, ...] = Field(
        default=(), max_length=16, description="Preferred nodes (preferred node affinity)."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), max_length=16, description="Taints that are tolerated; by allow-list."
    )
    topology_spread: tuple[TopologySpread, ...] = Field(
        default=(), max_length=8, description="The rules by which the job's members are spread."
    )
    runtime_class: KubernetesName | None = Field(
        default=None, description="The RuntimeClass of their pods; by allow-list."
    )

    @model_validator(mode="after")
    def _names_each_topology_once(self) -> Scheduling:
        keys = [(each.topology_key, each.when_unsatisfiable) for each in self.topology_spread]
        if len({*keys}) != len(keys):
            raise ValueError("topology_spread: the same topology and rule twice")
        return self


class ServiceAccount(Part):
    """A service account of the jobs' namespace for the program."""

    name: KubernetesName
    token: bool = Field(
        default=False, description="True: the program receives its token for the API server."
    )


class Mount(Part):
    """A volume of the job in one of its own containers."""

    volume: PartName = Field(description="The volume's name.")
    path: MountPath = Field(description="The path in the container.")
    sub_path: RelativePath | None = Field(
        default=None, description="Only this directory or file of it."
    )
    read_only: bool = Field(default=False, description="True: the container may not write to it.")


_S = TypeVar("_S", EnvironmentSource, EnvironmentValue)


class Container(Part):
    """An additional container of the job, confined like the program's.

    It sees neither the package nor the results, only the volumes that it mounts.
    """

    name: PartName
    kind: Literal["init", "sidecar"] = Field(
        description="`init`: it must succeed before the program starts; `sidecar`: it runs "
        "beside the program, is restarted if it exits, and ends with it."
    )
    image: ContainerImage | None = Field(
        default=None, description="Its image; by default the program's."
    )
    command: tuple[Annotated[str, Field(max_length=65_536)], ...] = Field(
        default=(), max_length=256, description="Its command; by default the image's."
    )
    args: tuple[Annotated[str, Field(max_length=65_536)], ...] = Field(default=(), max_length=256)
    working_dir: WholePath | None = None
    env: Environment = Field(
        default_factory=dict,
        description="Its environment variables; `$(NAME)` is expanded as Kubernetes does.",
    )
    env_from: tuple[EnvironmentSource, ...] = Field(default=(), max_length=32)
    env_value_from: tuple[EnvironmentValue, ...] = Field(default=(), max_length=64)
    mounts: tuple[Mount, ...] = Field(default=(), max_length=32)
    cpu: float = Field(default=0.1, gt=0, le=1024, description="CPU cores.")
    memory: MemoryQuantity = "256Mi"
    storage: MemoryQuantity = Field(
        default="1Gi", description="The most disk space it may use on its node."
    )
    roles: Roles = Field(default=(), description="The roles whose members have it; by default all.")

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in _TAKEN:
            raise ValueError(f"{', '.join(sorted(_TAKEN))} are every pod's own")
        return name

    @field_validator("mounts")
    @classmethod
    def _have_places_of_their_own(cls, mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
        paths = [each.path for each in mounts]
        if twice := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"twice at {', '.join(twice)}")
        return mounts

    @field_validator("env_from", "env_value_from")
    @classmethod
    def _are_the_containers(cls, sources: tuple[_S, ...]) -> tuple[_S, ...]:
        if any(each.roles for each in sources):
            raise ValueError("roles are said of the container")
        return sources


def faults_of_containers(
    role: Role, containers: Sequence[Container], volumes: Sequence[Volume]
) -> Iterator[str]:
    """Two of a role's containers of one name, and mounts of volumes that the role has not got."""
    named = [each.name for each in containers]
    for name in sorted({name for name in named if named.count(name) > 1}):
        yield f"containers: more than one of {role} has the name {name}"
    known = {each.name for each in volumes}
    for each in containers:
        for mount in each.mounts:
            if mount.volume not in known:
                yield f"containers: {each.name} mounts {mount.volume}, which {role} has not got"


def demand(program: float, containers: Sequence[tuple[str, float]]) -> float:
    """A pod's resources: its sidecars beside the program, or beside an init container before.

    ``containers`` are the kinds of the job's own and what each of them asks for, in their order.
    """
    beside, most = 0.0, 0.0
    for kind, amount in containers:
        if kind == "sidecar":
            beside += amount
        else:
            most = max(most, beside + amount)
    return max(most, beside + program)
