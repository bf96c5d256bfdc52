"""The specification of a member: everything a launcher needs to run it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts import JobSubmit, Member
from shared.storage import PresignedAccess


class Credentials(BaseModel):
    """Secrets that the launcher may know and the user's program may not; sent on stdin only."""

    model_config = ConfigDict(frozen=True)

    broker_url: str = Field(repr=False)
    s3_url: str = ""
    s3_access_key: str = Field(default="", repr=False)
    s3_secret_key: str = Field(default="", repr=False)
    """Empty in pods: they have presigned access to what is their job's."""
    bucket: str


class MemberSpec(BaseModel):
    """One incarnation of one member."""

    model_config = ConfigDict(frozen=True)

    job: JobSubmit
    member: Member
    primary: bool = Field(description="True: this member's model is the job's model.")
    directory: str = Field(description="Its own directory.")
    checkpoints: str = Field(description="Directory all members and incarnations share.")
    scratch: str = Field(
        default="", description="The folder with its program's HOME and TMPDIR, by a short path."
    )
    uid: int | None = Field(default=None, description="User its program runs as; None: as we are.")
    host: str = Field(description="Address under which the other members reach it.")
    port: int = Field(
        default=0, description="The port it is to have if that is free; 0: any free one."
    )
    pod: str = Field(default="", description="Its pod, where it runs in one.")
    node: str = Field(default="", description="The node of its pod.")
    program_grace_s: float = 20.0
    credentials: Credentials

    @property
    def key(self) -> str:
        """Names this incarnation among all jobs, e.g. ``job1/worker-0/1``."""
        return member_key(self.job.job_id, self.member)


def member_key(job_id: str, member: Member) -> str:
    """Names one incarnation among all jobs; also the mark its processes carry."""
    return f"{job_id}/{member.name}/{member.incarnation}"


class PodSpec(BaseModel):
    """The part that all pods of a job share; Kubernetes tells each of them its identity."""

    model_config = ConfigDict(frozen=True)

    job: JobSubmit
    program_grace_s: float
    broker_url: str = Field(repr=False)
    bucket: str
    access: PresignedAccess = Field(repr=False)


class PodPlaces:
    """The mounts of the volumes in a job's containers."""

    EXCHANGE = Path("/barograph/exchange")
    WORK = Path("/barograph/work")
    CHECKPOINTS = Path("/barograph/checkpoints")
    PRIVATE = Path("/barograph/private")
    SPEC = Path("/barograph/job")
    TRUST = Path("/barograph/trust")


TRUST_FILE = "ca.crt"
SPEC_FILE = "spec.json"
CHECKPOINT_OBJECT = "checkpoints.tar.gz"


def checkpoint_key(job_id: str) -> str:
    """The prefix under which a job's latest checkpoints are stored."""
    return f"jobs/{job_id}/{CHECKPOINT_OBJECT}"


LAUNCHER_FILE = "launcher.json"
EXIT_FILE = "exit.json"
"""The member's last message, kept beside it: the broker may bring it later than its end shows."""


class LauncherProcess(BaseModel):
    """A launcher's note in its directory by which it can be found and cleaned up after."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: int = Field(description="Clock ticks after boot; tells a reused pid.")
    cgroups: tuple[str, ...] = ()
    port: int = Field(default=0, description="The port it holds; 0 in notes of an older version.")
