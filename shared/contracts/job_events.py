"""The events of a job, in order: accepted, pending, running, its end, removed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.job_parts import FailureClass, JobState
from shared.contracts.jobs import JobSubmit
from shared.contracts.message import Faults, Identifier, Message, Part, Sentence, Sentences, cut_to

MemberName = Annotated[str, Field(max_length=64, examples=["worker-1"]), cut_to(64)]


LastLines = Annotated[
    tuple[Annotated[str, Field(max_length=1000), cut_to(1000)], ...],
    Field(max_length=50),
    cut_to(50),
]


class Isolation(Part):
    """The part of a request that a runtime could not honour, in words; empty when all was."""

    notes: Sentences = ()


class JobEvent(Message):
    """A job changed state. ``sequence`` grows by one per event of a job, from 1."""

    SUBJECT: ClassVar[str] = "job_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("job_id", "sequence")

    job_id: Identifier
    name: Identifier
    state: JobState
    sequence: int = Field(ge=1, description="Order of this job's events; later wins.")
    reason: Sentence = Field(default="", description="The reason, in words for people.")
    at: AwareDatetime


class JobAccepted(JobEvent):
    """The job is valid and recorded."""

    TYPE: ClassVar[str] = "job.accepted"

    submit: JobSubmit = Field(description="The job as it was accepted.")


class JobStarting(JobEvent):
    """The job's containers are being started."""

    TYPE: ClassVar[str] = "job.starting"

    attempt: int = Field(ge=1)


class PendingCause(StrEnum):
    """Causes why a job does not run, worst first: the first four do not heal by waiting."""

    IMAGE = "image"
    ADMISSION = "admission"
    QUOTA = "quota"
    VOLUME = "volume"
    UNSCHEDULABLE = "unschedulable"
    NODE = "node"
    GANG = "gang"
    QUEUE = "queue"


class JobPending(JobEvent):
    """The job cannot proceed yet: the reason that matters most, and what to do about it."""

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
    """The files a program left that are in the object store, and those that are not."""

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
    """The program succeeded, and its results are stored."""

    TYPE: ClassVar[str] = "job.succeeded"

    artifacts: Artifacts = ()
    stored: Stored = Stored()


class JobFailed(JobEvent):
    """The job failed, for the reason given."""

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


class JobNotifyRefused(Message):
    """A job named recipients whom it may not have notified; it runs anyway."""

    TYPE: ClassVar[str] = "job.notify_refused"
    SUBJECT: ClassVar[str] = "job_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: Identifier
    faults: Faults = Field(min_length=1)
    at: AwareDatetime


class JobRemoved(JobEvent):
    """The record and the objects of an ended job have been deleted."""

    TYPE: ClassVar[str] = "job.removed"
