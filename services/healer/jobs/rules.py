"""Rules that notify people of jobs by name, owner, project, queue and label."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import ConfigDict, Field, field_validator

from services.healer.model.rule import labels_fit
from shared.contracts import JobSubmit
from shared.contracts.job_notices import JobNotify


class JobRule(JobNotify):
    """A rule that notifies people of jobs; all given shell patterns must match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: str = Field(default="*", description="A shell pattern of jobs' names.")
    submitted_by: str = Field(default="*", description="A shell pattern of `submitted_by`.")
    projects: str = Field(default="*", description="A shell pattern of projects, such as vision-*.")
    queues: str = Field(
        default="*",
        description="A shell pattern of queues; * also matches jobs that name no queue.",
    )
    labels: dict[str, str] = Field(
        default={},
        description="A shell pattern for each label, such as team: vision-*; all must match. A "
        "missing label counts as empty: ?* matches jobs that have it.",
    )

    @field_validator("labels")
    @classmethod
    def _has_no_project(cls, labels: dict[str, str]) -> dict[str, str]:
        if "project" in labels:
            msg = f"a job's project is no label: write projects: {labels['project']}"
            raise ValueError(msg)
        return labels

    def is_about(self, job: JobSubmit) -> bool:
        """Return whether the job is one of those it names."""
        return (
            fnmatchcase(job.name, self.names)
            and fnmatchcase(job.submitted_by, self.submitted_by)
            and fnmatchcase(job.project, self.projects)
            and fnmatchcase(job.queue or "", self.queues)
            and labels_fit(job.labels, self.labels)
        )
