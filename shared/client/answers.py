"""The answers of the two APIs, as far as programs need them; unknown fields are ignored."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.contracts import Artifact, Fault, JobPlanned, Stored


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Job(_Answer):
    """The present state of a job."""

    job_id: str
    name: str
    state: str
    """``submitted``, ``accepted``, ``starting``, ``running``, ``retrying``, ``succeeded``,
    ``failed``, ``cancelled`` or ``refused``."""
    project: str = ""
    """The owning project; '' until it is known."""
    ended: bool
    """True if nothing more becomes of it."""
    reason: str = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    attempt: int = 0
    failure_class: str | None = None
    member: str = ""
    """The member whose end ended the job, e.g. ``worker-0``."""
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    """The reason for which the last request about it was refused."""
    artifacts: tuple[Artifact, ...] = ()
    """The first of the files it left; ``stored`` counts all."""
    stored: Stored = Stored()
    submit: dict[str, Any] | None = None
    """The fields it was submitted with."""

    @property
    def succeeded(self) -> bool:
        """True if it ended, and well."""
        return self.state == "succeeded"


class Submitted(_Answer):
    """The answer to a submit."""

    job_id: str
    known: bool
    """True if the same job had been submitted before."""


class LogPiece(_Answer):
    """A piece of a member's output; it may end within a line."""

    member: str
    incarnation: int
    text: str


class Result(_Answer):
    """A file that a job left."""

    path: str
    """Below the job, e.g. ``model/weights.h5``."""
    size: int


class Alert(_Answer):
    """An open alert and its notification state."""

    incident_id: str
    labels: dict[str, str]
    severity: str
    state: str
    """``predicted`` or ``firing``."""
    since: AwareDatetime
    status: str
    held_by: str = ""
    """The silence or rule that keeps people from being notified."""
    acknowledged: bool
    value: float | None = None
    crossing_ms: int | None = None
    """The time of a predicted alarm, in milliseconds since 1970."""
    sentence: str


class Silence(_Answer):
    """A silence or a maintenance window."""

    silence_id: str
    matchers: tuple[dict[str, str], ...]
    starts_at: AwareDatetime
    ends_at: AwareDatetime | None = None
    owner: str = ""
    reason: str = ""


class Line(_Answer):
    """An alert that a silence is about."""

    incident_id: str = ""
    sentence: str = ""


class Preview(_Answer):
    """The alerts that a silence would mute."""

    open: tuple[Line, ...]
    """Alerts that are open now."""
    past_days: float
    past_alerts: int = 0
    """Alerts of the last ``past_days`` it would have been about."""
    past_muted: int = 0
    """The number of these that it would have muted."""


# Answers that methods read on their way to their results.


class Begun(_Answer):
    """A started upload, or the fact that none is needed."""

    package: str
    exists: bool
    upload_id: str = Field(default="", pattern="^[0-9a-f]{0,64}$")
    part_bytes: int = Field(default=0, ge=0)
    parts: tuple[str, ...] = ()
    done: tuple[int, ...] = ()


class PlanAsked(_Answer):
    """The id under which the answer to a plan is found."""

    request_id: str


class PlanFound(_Answer):
    """The answer to a plan; none that came in time."""

    answer: JobPlanned | None


class JobPage(_Answer):
    """Some jobs, and where the next ones begin."""

    jobs: tuple[Job, ...]
    next_offset: int | None


class ResultPage(_Answer):
    """Some results, and after which path the next ones begin."""

    files: tuple[Result, ...]
    next_after: str | None


class LogPart(_Answer):
    """A member's incarnation that has output."""

    member: str
    incarnation: int
