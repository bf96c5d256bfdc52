"""The parts of messages about jobs: names, states, resources, time limits."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.contracts.message import Part
from shared.contracts.names import KubernetesName, MemoryQuantity

ObjectRef = Annotated[
    str,
    Field(
        max_length=1200,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]:[^:\x00-\x1f]+:[^:/\x00-\x1f]+$",
        examples=["barograph:packages:digits.tar.gz"],
        description="The package in the object store, as bucket:key prefix:file name.",
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


# Kubernetes takes names of variables with dots and hyphens, too.
EnvironmentName = Annotated[
    str, Field(max_length=128, pattern=r"^([A-Za-z_-]|\.[A-Za-z0-9_-])[A-Za-z0-9_.-]*$")
]


JobLabels = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$")],
        Annotated[str, Field(max_length=253, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")],
    ],
    Field(max_length=32),
]


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


_RESERVED_VARIABLES = frozenset(
    {"TF_CONFIG", "PATH", "HOME", "TMPDIR", "LD_PRELOAD", "LD_LIBRARY_PATH"}
)


def is_reserved_variable(name: str) -> bool:
    """Return whether the platform itself makes this variable for every member."""
    return name in _RESERVED_VARIABLES or name.startswith("BAROGRAPH_")


class JobState(StrEnum):
    """The states of a job; the last three are terminal and never change."""

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
    """The class of a failure, which says who has to act on it."""

    USER_ERROR = "user_error"
    INFRASTRUCTURE = "infrastructure"
    PREEMPTION = "preemption"
    OOM = "oom"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


_PREEMPTIONS = 10


_CRASHES = 1


def retry_budgets(max_retries: int) -> dict[FailureClass, int]:
    """Return how often a member may be replaced, by class of failure; 0 for others."""
    return {
        FailureClass.INFRASTRUCTURE: max_retries,
        # Says nothing about the job, nor about the machines.
        FailureClass.PREEMPTION: max_retries * _PREEMPTIONS,
        FailureClass.UNKNOWN: min(_CRASHES, max_retries),
    }


class Resources(Part):
    """The resources that each container of the job gets."""

    cpu: float = Field(default=1.0, gt=0, le=1024, description="CPU cores.")
    gpu: int = Field(default=0, ge=0, le=64, description="GPUs; by default none.")
    memory: MemoryQuantity = "2048Mi"
    gpu_resource: ExtendedResource = Field(
        default="nvidia.com/gpu",
        description="The name of the nodes' GPU resource, which may be a MIG slice or a shared "
        "GPU.",
    )
    gpu_model: Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9]([\w.-]*\w)?$")] | None = (
        Field(
            default=None,
            description="The value of the label nvidia.com/gpu.product that nodes must have.",
            examples=["NVIDIA-A100-SXM4-40GB"],
        )
    )
    device_class: KubernetesName | None = Field(
        default=None,
        description="The DeviceClass of GPUs through dynamic resource allocation.",
        examples=["gpu.nvidia.com"],
    )
    storage: MemoryQuantity | None = Field(
        default=None,
        description="Disk space that is reserved on its node and the most that it may use; by "
        "default nothing is reserved, and the limit is the installation's.",
        examples=["20Gi"],
    )
    shared_memory: MemoryQuantity | None = Field(
        default=None,
        description="The size of /dev/shm, which counts as memory; by default the container "
        "runtime's, usually 64Mi.",
        examples=["2Gi"],
    )


class Timeouts(Part):
    """The time limits of a job's phases, in seconds."""

    start_s: float = Field(
        default=600,
        gt=0,
        le=86_400,
        description="Until every member runs the program, without the time in which it waits for a "
        "place in the cluster.",
    )
    wait_s: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        description="For a place in the cluster: in a queue, for the rest of its pods, for room on "
        "the nodes or in a quota. By default without end.",
    )
    rendezvous_s: float = Field(default=300, gt=0, le=86_400, description="Until all reported.")
    run_s: float = Field(default=604_800, gt=0, le=31_536_000, description="The program itself.")
