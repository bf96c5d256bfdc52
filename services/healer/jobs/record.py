"""The record of a job until its owner was notified of its end."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field

from shared.contracts import DEFAULT_PROJECT
from shared.contracts.job_notices import JobNotify
from shared.store import Collection


class JobWatch(BaseModel):
    """A job with notifications; its events may arrive repeatedly and in any order."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    name: str
    notify: JobNotify | None = None
    """The notifications that the job asks for; also None until its acceptance has arrived."""
    rules: tuple[JobNotify, ...] = ()
    """The notifications required by rules about jobs."""
    submitted_by: str = ""
    project: str = DEFAULT_PROJECT
    accepted_at: AwareDatetime | None = None
    runs: bool = False
    waits_for: str = ""
    """The reason for which it does not run yet, in words."""
    ended: Literal["", "failed", "succeeded", "cancelled"] = ""
    reason: str = ""
    last_lines: tuple[str, ...] = ()
    notified: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("notified", "told"))
    """The kinds of notices that were made, each with whom it was for; `told` in old records."""
    due: AwareDatetime


JOB_WATCHES = Collection(
    "job_watches", JobWatch, key=lambda watch: watch.job_id, due=lambda watch: watch.due
)
