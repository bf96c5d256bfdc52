"""Rules about jobs: who hears of them unasked, by names, owners, projects, queues and labels."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import ConfigDict, Field, field_validator

from services.healer.model.rule import labels_fit
from shared.contracts import JobSubmit
from shared.contracts.job_notices import JobNotify


class JobRule(JobNotify):
    """Who hears of the jobs it names; patterns are the shell's, and all that are given must fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: str = Field(
        default="*", description="The jobs it is about, as a shell pattern of their names."
    )
    submitted_by: str = Field(
        default="*", description="Whose jobs it is about, as a shell pattern of `submitted_by`."
    )
    projects: str = Field(
        default="*", description="The projects it is about, as a shell pattern, such as vision-*."
    )
    queues: str = Field(
        default="*",
        description="A shell pattern of queues; * also fits a job that names no queue.",
    )
    labels: dict[str, str] = Field(
        default={},
        description="A shell pattern for each label, such as team: vision-*; all must fit. A label "
        "that is missing counts as empty: ?* fits a job that has it.",
    )

    @field_validator("labels")
    @classmethod
    def _has_no_project(cls, labels: dict[str, str]) -> dict[str, str]:
        if "project" in labels:
            msg = f"a job's project is no label: write projects: {labels['project']}"
            raise ValueError(msg)
        return labels

    def is_about(self, job: JobSubmit) -> bool:
        """Whether the job is one of those it names."""
        return (
            fnmatchcase(job.name, self.names)
            and fnmatchcase(job.submitted_by, self.submitted_by)
            and fnmatchcase(job.project, self.projects)
            and fnmatchcase(job.queue or "", self.queues)
            and labels_fit(job.labels, self.labels)
        )
