"""Requests about jobs: to submit one, to cancel or to remove it; and the refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field, model_validator

from shared.contracts.job_notices import JobNotify
from shared.contracts.job_parts import (
    ContainerImage,
    Environment,
    JobLabels,
    ObjectRef,
    Resources,
    Timeouts,
)
from shared.contracts.message import Faults, Identifier, Message, RelativePath, cut_to
from shared.contracts.names import (
    DEFAULT_PROJECT,
    KubernetesName,
    ProjectName,
    Role,
    memory_bytes,
)
from shared.contracts.pods import (
    Container,
    Scheduling,
    ServiceAccount,
    demand,
    faults_of_containers,
)
from shared.contracts.volumes import (
    SHARED_MEMORY,
    EnvironmentSource,
    EnvironmentValue,
    Roles,
    Volume,
    faults_of_volumes,
)


def _is_of(role: Role, roles: Roles) -> bool:
    return not roles or role in roles


class JobSubmit(Message):
    """Run this package. The client's own ``job_id`` makes a repeated submit harmless."""

    TYPE: ClassVar[str] = "job.submit"

    job_id: Identifier = Field(description="Chosen by the client; the same id is the same job.")
    name: Identifier = Field(description="Task name, as people will look for it.")
    type: Literal["single", "distribute"] = Field(
        default="single", description="One container, or a cluster of ps and workers."
    )
    package: ObjectRef
    package_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Digest the downloaded package must have; checked if given."
    )
    main: RelativePath = Field(
        description="Main program below the package's code folder.", examples=["train.py"]
    )
    args: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        default=(), max_length=256, description="Arguments of the main program."
    )
    env: Environment = Field(
        default_factory=dict,
        description="Extra environment of the main program: at most 1 MiB in all.",
    )
    chief: bool = Field(default=False, description="Whether a chief runs beside ps and workers.")
    ps: int = Field(default=0, ge=0, le=1000, description="Parameter servers (distribute).")
    workers: int = Field(default=0, ge=0, le=10_000, description="Workers (distribute).")
    evaluator: bool = Field(default=False, description="Whether an evaluator runs as well.")
    cluster_style: Literal["tf_config", "flags"] = Field(
        default="tf_config",
        description="How the program learns its cluster: TF_CONFIG, or TF_CONFIG and also"
        " --ps_hosts --worker_hosts --job_name --task_index.",
    )
    success_policy: Literal["chief", "worker0", "all_workers"] | None = Field(
        default=None, description="Whose success ends the job; default: chief if any, else worker0."
    )
    resources: Resources = Resources()
    role_resources: dict[Role, Resources] = Field(
        default_factory=dict,
        max_length=len(Role),
        description="The resources of a role's containers where they are not `resources`.",
        examples=[{"ps": {"cpu": 2, "memory": "4096Mi"}}],
    )
    image: ContainerImage | None = Field(
        default=None,
        description="Container image with Python and TensorFlow; default: the installation's.",
        examples=["tensorflow/tensorflow:2.20.0-gpu"],
    )
    role_images: dict[Role, ContainerImage] = Field(
        default_factory=dict,
        max_length=len(Role),
        description="The image of a role where that is not `image`.",
    )
    placement: Literal["any", "spread", "together"] = Field(
        default="any", description="Members on different nodes, on as few as can be, or either."
    )
    volumes: tuple[Volume, ...] = Field(
        default=(),
        max_length=32,
        description="Directories for the program beside its own; in pods only.",
    )
    env_from: tuple[EnvironmentSource, ...] = Field(
        default=(),
        max_length=32,
        description="Variables from Secrets and ConfigMaps, which the broker never sees; in pods"
        " only.",
    )
    env_value_from: tuple[EnvironmentValue, ...] = Field(
        default=(),
        max_length=256,
        description="Single variables from Secrets, ConfigMaps and the pod itself; in pods only.",
    )
    containers: tuple[Container, ...] = Field(
        default=(),
        max_length=16,
        description="Init containers and sidecars of its own, in the order they start; in pods"
        " only.",
    )
    scheduling: Scheduling = Field(
        default=Scheduling(), description="The nodes on which its members run; in pods only."
    )
    role_scheduling: dict[Role, Scheduling] = Field(
        default_factory=dict,
        max_length=len(Role),
        description="The nodes of a role where that is not `scheduling`.",
    )
    service_account: ServiceAccount | None = Field(
        default=None,
        description="Whose identity its programs have in the cluster, by allow-list; default:"
        " none; in pods only.",
    )
    image_pull_secrets: tuple[KubernetesName, ...] = Field(
        default=(), max_length=8, description="Secrets its images are pulled with; in pods only."
    )
    host_network: bool = Field(
        default=False, description="Use the node's network; free ports are chosen at run time."
    )
    priority_class: KubernetesName | None = Field(
        default=None, description="Kubernetes PriorityClass of its pods."
    )
    queue: KubernetesName | None = Field(
        default=None, description="Kueue LocalQueue that admits it; default: the installation's."
    )
    timeouts: Timeouts = Timeouts()
    max_retries: int = Field(
        default=3, ge=0, le=100, description="Replacements of members lost to infrastructure."
    )
    ttl_s: float = Field(
        default=604_800,
        ge=0,
        le=31_536_000,
        description="The time for which the record is kept afterwards.",
    )
    submitted_by: str = Field(
        default="", max_length=128, description="The name of who asked, for people."
    )
    project: ProjectName = Field(
        default=DEFAULT_PROJECT,
        description="The project that owns the job, its package, its log and its results.",
    )
    labels: JobLabels = Field(
        default_factory=dict,
        description="The labels of the job, for rules about notices. None is named project: that"
        " is the field `project`.",
        examples=[{"team": "perception"}],
    )
    notify: JobNotify | None = Field(
        default=None,
        description="The people and channels that are notified of its end or its wait.",
    )

    @model_validator(mode="after")
    def _shape_matches_type(self) -> JobSubmit:
        faults = []
        if self.type == "single" and (self.ps or self.workers or self.chief or self.evaluator):
            faults.append("a single job has no ps, workers, chief or evaluator")
        if self.type == "distribute" and self.workers < 1:
            faults.append("a distribute job needs at least one worker")
        if self.success_policy == "chief" and not self.chief:
            faults.append("success_policy 'chief' needs chief: true")
        for name, given in (
            ("role_resources", self.role_resources),
            ("role_images", self.role_images),
            ("role_scheduling", self.role_scheduling),
        ):
            if absent := sorted({*given} - {*self.roles()}):
                faults.append(f"{name}: the job has no {', '.join(absent)}")
        faults += self._absent_roles()
        for role in self.roles():
            volumes = self.volumes_of(role)
            own = [SHARED_MEMORY] if self.resources_of(role).shared_memory else []
            faults += faults_of_volumes(role, volumes, own)
            faults += faults_of_containers(role, self.containers_of(role), volumes)
        if faults:
            raise ValueError("; ".join(dict.fromkeys(faults)))
        return self

    def _absent_roles(self) -> Iterator[str]:
        """The fields that are given to roles the job has not got."""
        for name in ("volumes", "env_from", "env_value_from", "containers"):
            for number, each in enumerate(getattr(self, name)):
                if absent := sorted({*each.roles} - {*self.roles()}):
                    yield f"{name}.{number}.roles: the job has no {', '.join(absent)}"

    def subject(self) -> str:
        return self.job_id

    def volumes_of(self, role: Role) -> tuple[Volume, ...]:
        """The volumes that are mounted for the members of this role."""
        return tuple(each for each in self.volumes if _is_of(role, each.roles))

    def containers_of(self, role: Role) -> tuple[Container, ...]:
        """The job's own containers in the pods of this role."""
        return tuple(each for each in self.containers if _is_of(role, each.roles))

    def env_from_of(self, role: Role) -> tuple[EnvironmentSource, ...]:
        """Where the variables of this role's programs come from."""
        return tuple(each for each in self.env_from if _is_of(role, each.roles))

    def env_value_from_of(self, role: Role) -> tuple[EnvironmentValue, ...]:
        """Single variables of this role's programs."""
        return tuple(each for each in self.env_value_from if _is_of(role, each.roles))

    def scheduling_of(self, role: Role) -> Scheduling:
        """Which nodes the members of this role run on."""
        return self.role_scheduling.get(role, self.scheduling)

    def roles(self) -> dict[Role, int]:
        """How many members of each role there are; a single job has one worker."""
        if self.type == "single":
            return {Role.WORKER: 1}
        numbers = {
            Role.CHIEF: int(self.chief),
            Role.PS: self.ps,
            Role.WORKER: self.workers,
            Role.EVALUATOR: int(self.evaluator),
        }
        return {role: number for role, number in numbers.items() if number}

    def resources_of(self, role: Role) -> Resources:
        """The resources that each container of this role gets."""
        return self.role_resources.get(role, self.resources)

    def image_of(self, role: Role) -> str | None:
        """The image of this role's containers; None for the installation's."""
        return self.role_images.get(role, self.image)

    def cpu_of(self, role: Role) -> float:
        """CPU cores that a member of this role asks for, its own containers included."""
        program = self.resources_of(role).cpu
        return demand(program, [(each.kind, each.cpu) for each in self.containers_of(role)])

    def memory_of(self, role: Role) -> int:
        """Bytes of memory that a member of this role asks for, its own containers included."""
        own = [(each.kind, memory_bytes(each.memory)) for each in self.containers_of(role)]
        return int(demand(memory_bytes(self.resources_of(role).memory), own))

    @property
    def total_cpu(self) -> float:
        """CPU cores of all members together."""
        return sum(n * self.cpu_of(role) for role, n in self.roles().items())

    @property
    def total_memory(self) -> int:
        """Bytes of memory of all members together."""
        return sum(n * self.memory_of(role) for role, n in self.roles().items())

    @property
    def total_gpu(self) -> int:
        """GPUs of all members together."""
        return sum(n * self.resources_of(role).gpu for role, n in self.roles().items())


class JobCancel(Message):
    """Stop this job; harmless when it has ended or never was."""

    TYPE: ClassVar[str] = "job.cancel"

    job_id: Identifier
    reason: str = Field(default="cancelled by the user", max_length=500)

    def subject(self) -> str:
        return self.job_id


class JobRemove(Message):
    """Forget an ended job: its record, logs and model. Refused while it runs."""

    TYPE: ClassVar[str] = "job.remove"

    job_id: Identifier

    def subject(self) -> str:
        return self.job_id


class RequestRefused(Message):
    """A command was not valid; nothing was done. Names every fault found."""

    TYPE: ClassVar[str] = "request.refused"

    request_type: Annotated[str, cut_to(100)] = Field(
        max_length=100, description="The refused message's type."
    )
    request_id: Annotated[str, cut_to(255)] = Field(
        max_length=255, description="The refused message's id, to match it with the request."
    )
    job_id: Annotated[str, cut_to(128)] = Field(
        default="", max_length=128, description="The job it named, if it named one readably."
    )
    faults: Faults = Field(min_length=1)
    at: AwareDatetime

    def routing_key(self) -> str:
        return f"{self.TYPE}.{self.request_type}"

    def subject(self) -> str:
        return self.job_id

    def dedupe_key(self) -> str:
        return f"{self.request_type}/{self.request_id}/{self.job_id}"
