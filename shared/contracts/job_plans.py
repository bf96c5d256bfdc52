"""The request for a job's plan, and its answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field, JsonValue

from shared.contracts.job_parts import Resources
from shared.contracts.jobs import JobSubmit
from shared.contracts.message import Faults, Identifier, Message, Part, Sentence, Sentences
from shared.contracts.names import Role


class JobPlan(Message):
    """Plan this job: what it would be and whether it could run. Nothing is created."""

    TYPE: ClassVar[str] = "job.plan"
    SUBJECT: ClassVar[str] = "request_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: Identifier = Field(description="Chosen by who asks; the answer carries it.")
    job: JobSubmit = Field(description="The job as it would be submitted.")
    server: bool = Field(
        default=True, description="Let the API server check the objects, too (its dry run)."
    )


class PlannedRole(Part):
    """The members of one role: how many, and what each would get."""

    role: Role
    members: int = Field(ge=1)
    resources: Resources


class JobPlanned(Message):
    """The answer to ``job.plan``: what would be created, and every reason against it."""

    TYPE: ClassVar[str] = "job.planned"
    SUBJECT: ClassVar[str] = "request_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("request_id",)

    request_id: Identifier
    runtime: Literal["local", "kubernetes"] = Field(
        description="The runtime in which it would run."
    )
    faults: Faults = Field(
        default=(),
        description="Every reason for which a submit would be refused; empty: it would not.",
    )
    roles: tuple[PlannedRole, ...] = Field(max_length=len(Role))
    cpu: float = Field(description="CPU cores of all members together.")
    memory_bytes: int = Field(description="Bytes of memory of all members together.")
    gpu: int = Field(default=0, description="GPUs of all members together.")
    fits_now: bool | None = Field(
        default=None, description="True: the job could start at once; null: nobody can tell."
    )
    waiting_reason: Sentence = Field(
        default="", description="The things it would wait for, in words."
    )
    notes: Sentences = Field(default=(), description="Warnings, in words.")
    manifests: tuple[dict[str, JsonValue], ...] = Field(
        default=(),
        max_length=4 * len(Role),
        description="The objects that would be created, without secrets; for display.",
    )
    checked: bool = Field(
        default=False, description="True: the API server has checked the objects."
    )
    at: AwareDatetime
