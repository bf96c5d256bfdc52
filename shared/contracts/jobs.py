"""Messages of a job's life, in flow order: submit, accepted, running, terminal, removed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, AwareDatetime, Field, JsonValue, model_validator

from shared.contracts.job_notices import JobNotify
from shared.contracts.message import (
    Faults,
    Identifier,
    Message,
    Part,
    RelativePath,
    Sentence,
    Sentences,
    cut_to,
)
from shared.contracts.names import KubernetesName, MemoryQuantity, Role, memory_bytes
from shared.contracts.volumes import EnvironmentSource, Volume

ObjectRef = Annotated[
    str,
    Field(
        max_length=1200,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]:[^:\x00-\x1f]+:[^:/\x00-\x1f]+$",
        examples=["barograph:packages:digits.tar.gz"],
        description="Where the package lies: bucket:key prefix:file name.",
    ),
]
ExtendedResource = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        examples=["nvidia.com/mig-1g.5gb"],
    ),
]
ContainerImage = Annotated[str, Field(max_length=512, pattern=r"^[A-Za-z0-9][\w./:@-]*$")]
EnvironmentName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
MAX_ENVIRONMENT = 2**20


def _check_environment(values: dict[str, str]) -> dict[str, str]:
    size = sum(len(name.encode()) + len(value.encode()) for name, value in values.items())
    if size > MAX_ENVIRONMENT:
        msg = f"names and values take {size} bytes; at most {MAX_ENVIRONMENT} are allowed"
        raise ValueError(msg)
    return values


Environment = Annotated[
    dict[EnvironmentName, Annotated[str, Field(max_length=4096)]],
    Field(max_length=256),
    AfterValidator(_check_environment),
]
MemberName = Annotated[str, Field(max_length=64, examples=["worker-1"]), cut_to(64)]
LastLines = Annotated[
    tuple[Annotated[str, Field(max_length=1000), cut_to(1000)], ...],
    Field(max_length=50),
    cut_to(50),
]

_RESERVED_VARIABLES = frozenset(
    {"TF_CONFIG", "PATH", "HOME", "TMPDIR", "LD_PRELOAD", "LD_LIBRARY_PATH"}
)


def is_reserved_variable(name: str) -> bool:
    """Whether the platform itself makes this variable for every member."""
    return name in _RESERVED_VARIABLES or name.startswith("BAROGRAPH_")


class JobState(StrEnum):
    """Where a job stands; the last three are terminal and never change."""

    ACCEPTED = "accepted"
    STARTING = "starting"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class FailureClass(StrEnum):
    """Who has to do something about a failure."""

    USER_ERROR = "user_error"
    INFRASTRUCTURE = "infrastructure"
    PREEMPTION = "preemption"
    OOM = "oom"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


_PREEMPTIONS = 10
_CRASHES = 1


def retry_budgets(max_retries: int) -> dict[FailureClass, int]:
    """How often a member may be replaced for each class of failure; 0 for those not named."""
    return {
        FailureClass.INFRASTRUCTURE: max_retries,
        # Says nothing about the job, nor about the machines.
        FailureClass.PREEMPTION: max_retries * _PREEMPTIONS,
        FailureClass.UNKNOWN: min(_CRASHES, max_retries),
    }


class Resources(Part):
    """What each container of the job gets."""

    cpu: float = Field(default=1.0, gt=0, le=1024, description="CPU cores.")
    gpu: int = Field(default=0, ge=0, le=64, description="GPUs; none unless asked for.")
    memory: MemoryQuantity = "2048Mi"
    gpu_resource: ExtendedResource = Field(
        default="nvidia.com/gpu",
        description="What a GPU is called on the nodes: also a MIG slice or a shared GPU.",
    )
    gpu_model: Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9]([\w.-]*\w)?$")] | None = (
        Field(
            default=None,
            description="Only nodes labelled nvidia.com/gpu.product with this.",
            examples=["NVIDIA-A100-SXM4-40GB"],
        )
    )
    device_class: KubernetesName | None = Field(
        default=None,
        description="GPUs through dynamic resource allocation, of this DeviceClass.",
        examples=["gpu.nvidia.com"],
    )


class Timeouts(Part):
    """How long each phase may last, in seconds."""

    start_s: float = Field(default=600, gt=0, le=86_400, description="Until every member runs.")
    rendezvous_s: float = Field(default=300, gt=0, le=86_400, description="Until all reported.")
    run_s: float = Field(default=604_800, gt=0, le=31_536_000, description="The program itself.")


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
        description="What the containers of a role get where that is not `resources`.",
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
        default=604_800, ge=0, le=31_536_000, description="How long the record is kept afterwards."
    )
    submitted_by: str = Field(default="", max_length=128, description="Who asked; for people.")
    notify: JobNotify | None = Field(default=None, description="Who hears of its end or its wait.")

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
        ):
            if absent := sorted({*given} - {*self.roles()}):
                faults.append(f"{name}: the job has no {', '.join(absent)}")
        faults += self._volume_faults()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _volume_faults(self) -> list[str]:
        """Volumes of roles the job has not got, and two of one role at the same place."""
        faults = []
        for number, volume in enumerate(self.volumes):
            if absent := sorted({*volume.roles} - {*self.roles()}):
                faults.append(f"volumes.{number}.roles: the job has no {', '.join(absent)}")
        for role in self.roles():
            paths = [volume.path for volume in self.volumes_of(role)]
            twice = sorted({path for path in paths if paths.count(path) > 1})
            faults += [f"volumes: more than one of {role} is at {path}" for path in twice]
        return faults

    def subject(self) -> str:
        return self.job_id

    def volumes_of(self, role: Role) -> tuple[Volume, ...]:
        """What is mounted for the members of this role."""
        return tuple(each for each in self.volumes if not each.roles or role in each.roles)

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
        """What each container of this role gets."""
        return self.role_resources.get(role, self.resources)

    def image_of(self, role: Role) -> str | None:
        """The image of this role's containers; None for the installation's."""
        return self.role_images.get(role, self.image)

    @property
    def total_cpu(self) -> float:
        """CPU cores of all members together."""
        return sum(n * self.resources_of(role).cpu for role, n in self.roles().items())

    @property
    def total_memory(self) -> int:
        """Bytes of memory of all members together."""
        each = {role: memory_bytes(self.resources_of(role).memory) for role in self.roles()}
        return sum(n * each[role] for role, n in self.roles().items())

    @property
    def total_gpu(self) -> int:
        """GPUs of all members together."""
        return sum(n * self.resources_of(role).gpu for role, n in self.roles().items())


class JobPlan(Message):
    """Say what this job would be and whether it could run; nothing is created."""

    TYPE: ClassVar[str] = "job.plan"

    request_id: Identifier = Field(description="Chosen by who asks; the answer carries it.")
    job: JobSubmit = Field(description="The job as it would be handed in.")
    server: bool = Field(
        default=True, description="Let the API server check the objects, too (its dry run)."
    )

    def subject(self) -> str:
        return self.request_id

    def dedupe_key(self) -> str:
        return self.request_id


class PlannedRole(Part):
    """The members of one role: how many, and what each would get."""

    role: Role
    members: int = Field(ge=1)
    resources: Resources


class JobPlanned(Message):
    """The answer to ``job.plan``: what would be created, and what speaks against it."""

    TYPE: ClassVar[str] = "job.planned"

    request_id: Identifier
    runtime: Literal["local", "kubernetes"] = Field(description="Where it would run.")
    faults: Faults = Field(
        default=(), description="Why a submit would be refused, every reason; empty: it would not."
    )
    roles: tuple[PlannedRole, ...] = Field(max_length=len(Role))
    cpu: float = Field(description="CPU cores of all members together.")
    memory_bytes: int = Field(description="Bytes of memory of all members together.")
    gpu: int = Field(default=0, description="GPUs of all members together.")
    fits_now: bool | None = Field(
        default=None, description="Whether it could start at once; null: nobody can tell."
    )
    waiting_reason: Sentence = Field(default="", description="What it would wait for, in words.")
    notes: Sentences = Field(default=(), description="Warnings, in words.")
    manifests: tuple[dict[str, JsonValue], ...] = Field(
        default=(),
        max_length=4 * len(Role),
        description="The objects that would be created, without secrets; for display.",
    )
    checked: bool = Field(default=False, description="Whether the API server checked the objects.")
    at: AwareDatetime

    def subject(self) -> str:
        return self.request_id

    def dedupe_key(self) -> str:
        return self.request_id


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


class Isolation(Part):
    """What a runtime could not honour of what was asked, in words; empty when all was."""

    notes: Sentences = ()


class JobEvent(Message):
    """A job changed state. ``sequence`` grows by one per event of a job, from 1."""

    job_id: Identifier
    name: Identifier
    state: JobState
    sequence: int = Field(ge=1, description="Order of this job's events; later wins.")
    reason: Sentence = Field(default="", description="Why, in words for people.")
    at: AwareDatetime

    def subject(self) -> str:
        return self.job_id

    def dedupe_key(self) -> str:
        return f"{self.job_id}/{self.sequence}"


class JobAccepted(JobEvent):
    """The job is valid and recorded."""

    TYPE: ClassVar[str] = "job.accepted"

    submit: JobSubmit = Field(description="The job as it was accepted.")


class JobStarting(JobEvent):
    """Its containers are being started."""

    TYPE: ClassVar[str] = "job.starting"

    attempt: int = Field(ge=1)


class PendingCause(StrEnum):
    """What keeps a job from running, worst first: the first four do not heal by waiting."""

    IMAGE = "image"
    ADMISSION = "admission"
    QUOTA = "quota"
    VOLUME = "volume"
    UNSCHEDULABLE = "unschedulable"
    NODE = "node"
    GANG = "gang"
    QUEUE = "queue"


class JobPending(JobEvent):
    """The job could not go on so far; the one reason that matters most, and what to do."""

    TYPE: ClassVar[str] = "job.pending"

    cause: PendingCause
    advice: Sentence = Field(description="The next step, in words.")
    members: Annotated[tuple[MemberName, ...], cut_to(1000)] = Field(
        default=(), max_length=1000, description="Members concerned, e.g. worker-1."
    )


class JobRunning(JobEvent):
    """Every member runs the program."""

    TYPE: ClassVar[str] = "job.running"

    attempt: int = Field(ge=1)
    isolation: Isolation = Isolation()


class JobRetrying(JobEvent):
    """A member was lost and is being replaced."""

    TYPE: ClassVar[str] = "job.retrying"

    attempt: int = Field(ge=1)
    failure_class: FailureClass
    member: MemberName = Field(description="The lost member, e.g. worker-1.")


class Artifact(Part):
    """A file of the job in the object store."""

    bucket: str = Field(max_length=63)
    key: str = Field(max_length=1024)
    size: int = Field(ge=0, lt=2**63, description="Bytes.")
    sha256: str = Field(max_length=64)


MAX_ARTIFACTS = 1000
MAX_REASONS = 20
Artifacts = Annotated[
    tuple[Artifact, ...],
    Field(
        max_length=MAX_ARTIFACTS,
        description="The first files stored; all are in jobs/JOB/manifest/ of the object store.",
    ),
    cut_to(MAX_ARTIFACTS),
]


class Stored(Part):
    """What of the files a program left is in the object store, and what is not."""

    files: int = Field(default=0, ge=0, lt=2**63, description="Files stored.")
    size: int = Field(default=0, ge=0, lt=2**63, description="Bytes of all of them.")
    left_out: int = Field(default=0, ge=0, lt=2**63, description="Files and links not stored.")
    reasons: Annotated[tuple[Sentence, ...], cut_to(MAX_REASONS)] = Field(
        default=(), max_length=MAX_REASONS, description="The first of these, each with its reason."
    )

    def __add__(self, other: Stored) -> Stored:
        return Stored(
            files=self.files + other.files,
            size=self.size + other.size,
            left_out=self.left_out + other.left_out,
            reasons=(*self.reasons, *other.reasons),
        )


class JobSucceeded(JobEvent):
    """The program ended well; what it left is stored."""

    TYPE: ClassVar[str] = "job.succeeded"

    artifacts: Artifacts = ()
    stored: Stored = Stored()


class JobFailed(JobEvent):
    """The job ended badly, for the reason given."""

    TYPE: ClassVar[str] = "job.failed"

    failure_class: FailureClass
    member: MemberName = Field(default="", description="The member at fault, if one is.")
    exit_code: int | None = Field(default=None, description="Its exit code; minus a signal number.")
    last_lines: LastLines = Field(default=(), description="The last lines it logged.")
    artifacts: Artifacts = ()
    stored: Stored = Stored()


class JobCancelled(JobEvent):
    """The job was stopped on request."""

    TYPE: ClassVar[str] = "job.cancelled"

    artifacts: Artifacts = ()
    stored: Stored = Stored()


class JobRemoved(JobEvent):
    """The record and the objects of an ended job are gone."""

    TYPE: ClassVar[str] = "job.removed"
