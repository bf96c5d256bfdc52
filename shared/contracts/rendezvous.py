"""Messages by which containers form a TensorFlow cluster, and their reports until they end."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.job_events import Artifacts, Isolation, LastLines, Stored
from shared.contracts.message import Identifier, Message, Part, Sentence, job_word
from shared.contracts.names import Role


class Member(Part):
    """One member of a job's cluster; a replacement is the same member's next incarnation."""

    role: Role
    index: int = Field(ge=0, le=10_000, description="TensorFlow's task index within the role.")
    incarnation: int = Field(ge=1, lt=2**31, description="1 at first, plus 1 for each replacement.")

    @property
    def name(self) -> str:
        """Role and index as people read them, e.g. ``worker-1``."""
        return f"{self.role}-{self.index}"


MemberName = Annotated[str, Field(max_length=32, description="Role and index, e.g. worker-1.")]


class RendezvousOpen(Message):
    """Collect these members' reports and publish the ClusterSpec."""

    TYPE: ClassVar[str] = "rendezvous.open"
    SUBJECT: ClassVar[str] = "job_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("job_id", "deadline")

    job_id: Identifier
    roles: dict[Role, Annotated[int, Field(ge=0, le=10_000)]] = Field(
        description="The number of members that are expected of each role."
    )
    deadline: AwareDatetime = Field(description="The time to give up and name the missing.")
    incarnations: dict[MemberName, Annotated[int, Field(ge=1, lt=2**31)]] = Field(
        default_factory=dict,
        max_length=50_000,
        description="Least incarnation that counts, by member name, where it is not 1.",
    )
    least_epoch: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Least epoch that the ClusterSpec may have. An epoch that is not less is kept "
        "while every member has the address it had: whoever was replaced joins the others.",
    )


PodName = Annotated[
    str, Field(max_length=253, description="Its pod's name in the cluster, '' outside of one.")
]
NodeName = Annotated[
    str, Field(max_length=253, description="The node it runs on, '' where that is not known.")
]


class _OfJob(Message):
    """A message whose routing key ends in its job's word: members' rights do, too."""

    job_id: Identifier

    def routing_key(self) -> str:
        return f"{self.TYPE}.{job_word(self.job_id)}"


class _OfMember(_OfJob):
    """... and is about one incarnation of a member."""

    member: Member

    def subject(self) -> str:
        return f"{self.job_id}/{self.member.name}"


class PodReported(_OfMember):
    """A container is up and holds this address. Repeated until it has the spec."""

    TYPE: ClassVar[str] = "pod.reported"
    ONCE: ClassVar[bool] = False

    host: str = Field(max_length=253, description="IP address or name the others can reach.")
    port: int = Field(ge=1, le=65_535)
    pod: PodName = ""
    node: NodeName = ""
    at: AwareDatetime


class ClusterSpecReady(_OfJob):
    """All members are known. A higher epoch replaces a lower one."""

    TYPE: ClassVar[str] = "clusterspec.ready"
    SUBJECT: ClassVar[str] = "job_id"

    epoch: int = Field(ge=1, description="Grows with every change of membership.")
    cluster: dict[Role, tuple[str, ...]] = Field(description="host:port of each member by index.")
    members: tuple[Member, ...] = Field(description="The incarnations this spec holds.")
    at: AwareDatetime | None = Field(default=None, description="The time of the publication.")


class PodFenced(_OfMember):
    """This incarnation has been replaced: it must stop and change nothing more."""

    TYPE: ClassVar[str] = "pod.fenced"

    reason: Sentence


class RendezvousTimedOut(Message):
    """The deadline passed; these members never reported."""

    TYPE: ClassVar[str] = "rendezvous.timed-out"
    SUBJECT: ClassVar[str] = "job_id"

    job_id: Identifier
    missing: tuple[str, ...] = Field(min_length=1, description="Names, e.g. worker-1.")
    at: AwareDatetime

    def dedupe_key(self) -> str:
        return f"{self.job_id}/{','.join(self.missing)}/{self.at.isoformat()}"


class RendezvousClose(Message):
    """The job has ended: forget its cluster, and fence members that still report."""

    TYPE: ClassVar[str] = "rendezvous.close"
    SUBJECT: ClassVar[str] = "job_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("job_id",)

    job_id: Identifier


class PodStarted(_OfMember):
    """The user's program runs in this container."""

    TYPE: ClassVar[str] = "pod.started"

    epoch: int = Field(ge=0, lt=2**31, description="The spec it started with; 0 for a single job.")
    isolation: Isolation = Isolation()
    pod: PodName = ""
    node: NodeName = ""
    at: AwareDatetime

    def dedupe_key(self) -> str:
        member = self.member
        return f"{self.job_id}/{member.name}/{member.incarnation}/{self.epoch}"


class LogAppended(_OfMember):
    """A chunk of a container's output; the same text is in the object store under ``key``."""

    TYPE: ClassVar[str] = "log.appended"

    chunk: int = Field(
        ge=0, lt=2**31, description="Number of the chunk within the incarnation, from 0."
    )
    key: str = Field(max_length=1024, description="Object key of the chunk.")
    text: str = Field(max_length=2**18, description="The chunk, at most 256 KiB of UTF-8.")
    at: AwareDatetime

    def dedupe_key(self) -> str:
        member = self.member
        return f"{self.job_id}/{member.name}/{member.incarnation}/{self.chunk}"


class PodMeasured(_OfMember):
    """A member's present use of its machine; published about every ten seconds while it runs."""

    TYPE: ClassVar[str] = "pod.measured"
    ONCE: ClassVar[bool] = False

    cpu_cores: float = Field(
        ge=0, le=1e6, description="Mean number of busy cores since the last telling."
    )
    memory_bytes: int = Field(ge=0, lt=2**63, description="Resident memory of all its processes.")
    at: AwareDatetime


class PodExited(_OfMember):
    """The container's program has ended and everything it left is stored."""

    TYPE: ClassVar[str] = "pod.exited"

    exit_code: int = Field(
        ge=-255, le=255, description="The program's exit code; minus the signal number if killed."
    )
    oom: bool = Field(default=False, description="Killed for going over its memory limit.")
    fault: Sentence = Field(
        default="",
        description="The reason why the container stopped before or around the program, if any.",
    )
    infrastructure: bool = Field(
        default=False, description="True: ``fault`` is the platform's, so a retry may help."
    )
    witnessed: bool = Field(
        default=True,
        description="True: the program's end was seen; otherwise only the cluster knows it.",
    )
    last_lines: LastLines = ()
    artifacts: Artifacts = ()
    stored: Stored = Stored()
    at: AwareDatetime

    def dedupe_key(self) -> str:
        return f"{self.job_id}/{self.member.name}/{self.member.incarnation}"
