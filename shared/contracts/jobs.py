"""The request to run a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from shared.contracts.job_notices import JobNotify
from shared.contracts.job_parts import (
    ContainerImage,
    Environment,
    JobLabels,
    ObjectRef,
    Resources,
    Timeouts,
)
from shared.contracts.message import Identifier, Message, RelativePath
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
    """Run this package. The client chooses ``job_id``, so repeating a submit is harmless."""

    TYPE: ClassVar[str] = "job.submit"
    SUBJECT: ClassVar[str] = "job_id"

    job_id: Identifier = Field(description="Chosen by the client; the same id is the same job.")
    name: Identifier = Field(description="The job's name, for people.")
    type: Literal["single", "distribute"] = Field(
        default="single",
        description="single: one container; distribute: a cluster of parameter "
        "servers and workers.",
    )
    package: ObjectRef
    package_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None,
        description="The SHA-256 that the downloaded package must have; checked if given.",
    )
    main: RelativePath = Field(
        description="The main program, relative to the package's code folder.",
        examples=["train.py"],
    )
    args: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        default=(), max_length=256, description="Arguments of the main program."
    )
    env: Environment = Field(
        default_factory=dict,
        description="Additional environment variables of the main program, at most 1 MiB in all.",
    )
    chief: bool = Field(default=False, description="True: a chief runs beside ps and workers.")
    ps: int = Field(default=0, ge=0, le=1000, description="Parameter servers (distribute).")
    workers: int = Field(default=0, ge=0, le=10_000, description="Workers (distribute).")
    evaluator: bool = Field(default=False, description="True: an evaluator runs as well.")
    cluster_style: Literal["tf_config", "flags"] = Field(
        default="tf_config",
        description="The way in which the program learns its cluster: by TF_CONFIG, or also by "
        "--ps_hosts --worker_hosts --job_name --task_index.",
    )
    success_policy: Literal["chief", "worker0", "all_workers"] | None = Field(
        default=None,
        description="The member whose success ends the job; by default the chief "
        "if there is one, otherwise worker 0.",
    )
    resources: Resources = Resources()
    role_resources: dict[Role, Resources] = Field(
        default_factory=dict,
        max_length=len(Role),
        description="Resources of a role's containers, instead of `resources`.",
        examples=[{"ps": {"cpu": 2, "memory": "4096Mi"}}],
    )
    image: ContainerImage | None = Field(
        default=None,
        description="The container image, with Python and TensorFlow; by default the "
        "installation's.",
        examples=["tensorflow/tensorflow:2.20.0-gpu"],
    )
    role_images: dict[Role, ContainerImage] = Field(
        default_factory=dict,
        max_length=len(Role),
        description="The image of a role, instead of `image`.",
    )
    placement: Literal["any", "spread", "together"] = Field(
        default="any",
        description="The nodes of the members: different ones, as few as possible, or any.",
    )
    volumes: tuple[Volume, ...] = Field(
        default=(),
        max_length=32,
        description="Additional directories for the program; only in pods.",
    )
    env_from: tuple[EnvironmentSource, ...] = Field(
        default=(),
        max_length=32,
        description="Environment variables from Secrets and ConfigMaps, which the broker never "
        "sees; only in pods.",
    )
    env_value_from: tuple[EnvironmentValue, ...] = Field(
        default=(),
        max_length=256,
        description="Single variables from Secrets, ConfigMaps and the pod itself; only in pods.",
    )
    containers: tuple[Container, ...] = Field(
        default=(),
        max_length=16,
        description="Init containers and sidecars, in the order in which they start; only in pods.",
    )
    scheduling: Scheduling = Field(
        default=Scheduling(), description="The nodes on which its members run; only in pods."
    )
    role_scheduling: dict[Role, Scheduling] = Field(
        default_factory=dict,
        max_length=len(Role),
        description="The nodes of a role, instead of `scheduling`.",
    )
    service_account: ServiceAccount | None = Field(
        default=None,
        description="The service account of its programs, by allow-list; by default none; only "
        "in pods.",
    )
    image_pull_secrets: tuple[KubernetesName, ...] = Field(
        default=(), max_length=8, description="Secrets for pulling its images; only in pods."
    )
    elastic: bool = Field(
        default=False,
        description="True: a worker that was lost joins the running cluster again, at its old "
        "address, instead of a new start of all members; for parameter servers with a chief.",
    )
    host_network: bool = Field(
        default=False,
        description="True: pods use the node's network; free ports are chosen at run time.",
    )
    priority_class: KubernetesName | None = Field(
        default=None, description="The Kubernetes PriorityClass of its pods."
    )
    queue: KubernetesName | None = Field(
        default=None,
        description="The Kueue LocalQueue that admits it; by default the installation's.",
    )
    timeouts: Timeouts = Timeouts()
    max_retries: int = Field(
        default=3,
        ge=0,
        le=100,
        description="The number of replacements of members lost to infrastructure failures.",
    )
    ttl_s: float = Field(
        default=604_800,
        ge=0,
        le=31_536_000,
        description="The time for which record, logs and results are kept after the end.",
    )
    submitted_by: str = Field(
        default="", max_length=128, description="The name of the submitter, for people."
    )
    project: ProjectName = Field(
        default=DEFAULT_PROJECT,
        description="The project that owns the job, its package, its log and its results.",
    )
    labels: JobLabels = Field(
        default_factory=dict,
        description="Labels of the job, for rules about notifications. `project` is a field of "
        "its own, not a label.",
        examples=[{"team": "perception"}],
    )
    notify: JobNotify | None = Field(
        default=None,
        description="The people to notify of its end or of a long wait.",
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
        faults += self._unfit_for_elastic() if self.elastic else ()
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

    def _unfit_for_elastic(self) -> Iterator[str]:
        """The reason why no worker could come back to this job's running cluster."""
        if not (self.chief and self.ps):
            yield (
                "elastic needs a chief and ps: only programs whose chief coordinates parameter "
                "servers take a worker back, other strategies have a fixed number of members"
            )
        if self.success_policy not in (None, "chief"):
            yield "elastic: the chief's success ends the job; leave success_policy out"
        if self.host_network:
            yield "elastic: on the node's network a worker's port may be taken when it comes back"

    def _absent_roles(self) -> Iterator[str]:
        """The fields that are given to roles the job has not got."""
        for name in ("volumes", "env_from", "env_value_from", "containers"):
            for number, each in enumerate(getattr(self, name)):
                if absent := sorted({*each.roles} - {*self.roles()}):
                    yield f"{name}.{number}.roles: the job has no {', '.join(absent)}"

    def volumes_of(self, role: Role) -> tuple[Volume, ...]:
        """The volumes that are mounted for the members of this role."""
        return tuple(each for each in self.volumes if _is_of(role, each.roles))

    def containers_of(self, role: Role) -> tuple[Container, ...]:
        """The job's own containers in the pods of this role."""
        return tuple(each for each in self.containers if _is_of(role, each.roles))

    def env_from_of(self, role: Role) -> tuple[EnvironmentSource, ...]:
        """The sources of environment variables of this role's programs."""
        return tuple(each for each in self.env_from if _is_of(role, each.roles))

    def env_value_from_of(self, role: Role) -> tuple[EnvironmentValue, ...]:
        """Single variables of this role's programs."""
        return tuple(each for each in self.env_value_from if _is_of(role, each.roles))

    def scheduling_of(self, role: Role) -> Scheduling:
        """The scheduling of this role's members."""
        return self.role_scheduling.get(role, self.scheduling)

    def roles(self) -> dict[Role, int]:
        """Return how many members of each role there are; a single job has one worker."""
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
