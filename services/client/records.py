"""The read model: jobs as last heard of, and where their log chunks lie."""

from __future__ import annotations

from datetime import timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts import Artifact, Fault, JobSubmit
from shared.store.records import Collection

SUBMITTED, REFUSED, REMOVED = "submitted", "refused", "removed"
"""States of ours, beside those of the task service."""
ENDED = frozenset({"succeeded", "failed", "cancelled", REFUSED, REMOVED})
_KEPT = timedelta(days=8)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobView(_Frozen):
    """A job as its events tell. ``sequence`` is that of the newest event seen, 0 for none."""

    job_id: str
    name: str
    state: str
    sequence: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    reason: str = ""
    submit: JobSubmit | None = None
    attempt: int = 0
    failure_class: str | None = None
    member: str = ""
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    faults: tuple[Fault, ...] = ()
    """Why the last request about this job was refused."""


class LogChunk(_Frozen):
    """One chunk of a member's log; its text lies in the object store under ``object_key``."""

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


JOBS = Collection(
    "client-jobs",
    JobView,
    key=lambda v: v.job_id,
    status=lambda v: v.state,
    # Removed and refused jobs have nobody else to forget them.
    due=lambda v: v.updated_at + _KEPT if v.state in (REFUSED, REMOVED) else None,
)
CHUNKS = Collection("client-log-chunks", LogChunk, key=lambda c: c.key, group=lambda c: c.job_id)
