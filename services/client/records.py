"""The read model: jobs by their latest events, and the object keys of their log chunks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, computed_field

from services.client.progress import Progress
from services.client.usage_curve import UsageCurve
from shared.contracts import (
    DEFAULT_PROJECT,
    Artifact,
    FailureClass,
    Fault,
    JobPlanned,
    JobSubmit,
    PendingCause,
    Role,
    Stored,
)
from shared.store import Collection

SUBMITTED, REFUSED, REMOVED = "submitted", "refused", "removed"
"""States of the client, beside those of the task service."""
ENDED = frozenset({"succeeded", "failed", "cancelled", REFUSED, REMOVED})
_KEPT_BY_TTL = ENDED - {REFUSED, REMOVED}
_WARNED = timedelta(days=1)
"""The time before the end of the retention at which people are warned."""
_KEPT = timedelta(days=8)
_TOKEN_LISTED = timedelta(days=30)
_PLAN_KEPT = timedelta(hours=1)
UPLOAD_KEPT = timedelta(days=1)
"""An upload that is not finished by then is abandoned, and its links expire."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Pending(_Frozen):
    """The cause that keeps a job waiting; the job's ``reason`` describes it."""

    cause: PendingCause
    advice: str
    members: tuple[str, ...] = ()
    since: AwareDatetime


class JobView(_Frozen):
    """A job, from its events. ``sequence`` is that of the latest event, 0 for none."""

    job_id: str
    name: str
    state: str
    sequence: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    reason: str = ""
    submit: JobSubmit | None = None
    attempt: int = 0
    pending: Pending | None = None
    retries: dict[FailureClass, int] = {}
    """Members replaced so far, by why they were lost."""
    epoch: int = 0
    """The generation of the newest ClusterSpec, 0 while there is none."""
    failure_class: str | None = None
    member: str = ""
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    """The first of them; ``stored`` counts all."""
    stored: Stored = Stored()
    faults: tuple[Fault, ...] = ()
    """The reason for which the last request about this job was refused."""
    not_notified: tuple[Fault, ...] = ()
    """The recipients that the job named but may not have notified."""

    @computed_field
    @property
    def ended(self) -> bool:
        """True if its state is final."""
        return self.state in ENDED

    @computed_field
    @property
    def kept_until(self) -> datetime | None:
        """The time at which an ended job is removed with its logs and results; None if unknown."""
        if self.submit is None or self.state not in _KEPT_BY_TTL:
            return None
        try:
            return self.updated_at + timedelta(seconds=self.submit.ttl_s)
        except OverflowError:
            return None  # the end of an event is the sender's, and calendars end

    def is_removed_soon(self, now: datetime) -> bool:
        """Return whether less than a day is left, of those jobs that are kept for longer."""
        if self.submit is None or self.kept_until is None:
            return False
        return self.submit.ttl_s > _WARNED.total_seconds() and self.kept_until - now < _WARNED

    @computed_field
    @property
    def project(self) -> str:
        """The owning project; '' until the submitted fields are known."""
        return self.submit.project if self.submit else ""


class MemberView(_Frozen):
    """The newest incarnation of a member, by its own events."""

    job_id: str
    role: Role
    index: int
    incarnation: int = 1
    phase: Literal["awaited", "reported", "running", "exited"] = "awaited"
    address: str = ""
    """The host:port at which the others reach it; '' for a single job."""
    pod: str = ""
    node: str = ""
    epoch: int = 0
    started_at: AwareDatetime | None = None
    exited_at: AwareDatetime | None = None
    exit_code: int | None = None
    oom: bool = False
    fault: str = ""
    infrastructure: bool = False
    """True if ``fault`` is the platform's."""
    last_lines: tuple[str, ...] = ()
    cpu_cores: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    measured_at: AwareDatetime | None = None

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


class Moment(_Frozen):
    """Something that happened to a job or one of its members."""

    job_id: str
    id: str
    """Identifies it within the job, so that it is stored once."""
    at: AwareDatetime
    kind: str
    """The job's state, such as ``running``, or the event of a member."""
    text: str
    member: str = ""
    """The member to whom it happened; '' for the job itself."""
    incarnation: int = 0

    @property
    def concerns(self) -> str:
        """``member`` or ``job``."""
        return "member" if self.member else "job"


class PlanView(_Frozen):
    """A requested plan, and its answer once it has arrived."""

    request_id: str
    asked_at: AwareDatetime
    project: str = DEFAULT_PROJECT
    answer: JobPlanned | None = None


class Token(_Frozen):
    """A named token; only the digest of the secret is stored."""

    id: str
    name: str
    role: str
    digest: str
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime
    projects: tuple[str, ...] = (DEFAULT_PROJECT,)


class Upload(_Frozen):
    """A package being uploaded; whoever knows ``id`` may continue, in its project."""

    id: str
    sha256: str
    size: int
    begun_at: AwareDatetime
    project: str = DEFAULT_PROJECT

    @property
    def key(self) -> str:
        """The key of the upload until its content is verified."""
        return f"uploads/{self.id}.tar.gz"


class LeftSession(_Frozen):
    """A session that was ended early, and when it would have expired."""

    id: str
    until: AwareDatetime


class LogChunk(_Frozen):
    """One chunk of a member's log; its text is in the object store under ``object_key``."""

    job_id: str
    member: str
    incarnation: int
    chunk: int
    object_key: str
    at: AwareDatetime

    @property
    def key(self) -> str:
        """Unique name of the chunk."""
        return f"{self.job_id}/{self.member}/{self.incarnation}/{self.chunk:08d}"


class LogTally(_Frozen):
    """The numbers of a job's log chunks that were ever listed, and of those dropped again."""

    job_id: str
    stored: int
    dropped: int = 0


def status_in(project: str, state: str) -> str:
    """The status under which jobs of a project and state are stored; for ``default``, the state."""
    return state if project == DEFAULT_PROJECT else f"{state}@{project}"


def state_of(status: str) -> str:
    """The state within a status made by ``status_in``."""
    return status.partition("@")[0]


JOBS = Collection(
    "client-jobs",
    JobView,
    key=lambda v: v.job_id,
    # The index keeps the jobs of each project and state in order, so that a list costs what it
    # shows, whatever there is of other projects.
    status=lambda v: status_in(v.project, v.state),
    # Nothing else deletes removed and refused jobs.
    due=lambda v: v.updated_at + _KEPT if v.state in (REFUSED, REMOVED) else None,
)
CHUNKS = Collection("client-log-chunks", LogChunk, key=lambda c: c.key, group=lambda c: c.job_id)
TALLIES = Collection(
    "client-log-tallies", LogTally, key=lambda t: t.job_id, group=lambda t: t.job_id
)
MEMBERS = Collection(
    "client-members", MemberView, key=lambda m: f"{m.job_id}/{m.name}", group=lambda m: m.job_id
)
PROGRESS = Collection("client-progress", Progress, key=lambda p: p.job_id, group=lambda p: p.job_id)
USAGE = Collection(
    "client-usage", UsageCurve, key=lambda c: f"{c.job_id}/{c.member}", group=lambda c: c.job_id
)
MOMENTS = Collection(
    "client-moments",
    Moment,
    key=lambda m: f"{m.job_id}/{m.id}",
    group=lambda m: m.job_id,
    status=lambda m: m.concerns,
)
PLANS = Collection(
    "client-plans",
    PlanView,
    key=lambda p: p.request_id,
    due=lambda p: p.asked_at + _PLAN_KEPT,
)
UPLOADS = Collection(
    "client-uploads",
    Upload,
    key=lambda u: u.id,
    group=lambda u: u.project,
    due=lambda u: u.begun_at + UPLOAD_KEPT,
)
LEFT_SESSIONS = Collection(
    "client-left-sessions", LeftSession, key=lambda s: s.id, due=lambda s: s.until
)
TOKENS = Collection(
    "client-tokens", Token, key=lambda t: t.id, due=lambda t: t.expires_at + _TOKEN_LISTED
)
OF_A_JOB: tuple[Collection[Any], ...] = (
    CHUNKS,
    MEMBERS,
    MOMENTS,
    PROGRESS,
    TALLIES,
    USAGE,
)
"""The collections of records that are deleted with a job, whose id is their group."""
