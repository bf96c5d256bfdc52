"""The answers of the two APIs, as far as programs need them; unknown fields are ignored."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts import Artifact, Fault, Stored


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Job(_Answer):
    """A job as it stands now."""

    job_id: str
    name: str
    state: str
    """``submitted``, ``accepted``, ``starting``, ``running``, ``retrying``, ``succeeded``,
    ``failed``, ``cancelled`` or ``refused``."""
    project: str = ""
    """Who owns it; '' while that is not known."""
    ended: bool
    """Whether nothing more becomes of it."""
    reason: str = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    attempt: int = 0
    failure_class: str | None = None
    member: str = ""
    """Whose end was the job's, e.g. ``worker-0``."""
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    """Why the last request about it was refused."""
    artifacts: tuple[Artifact, ...] = ()
    """The first of the files it left; ``stored`` counts all."""
    stored: Stored = Stored()
    submit: dict[str, Any] | None = None
    """The fields it was handed in with."""

    @property
    def succeeded(self) -> bool:
        """Whether it ended, and well."""
        return self.state == "succeeded"


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
    """An open alert and where it stands with people."""

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
    """When a predicted alarm is due, in milliseconds since 1970."""
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

    open: tuple[Line, ...] = ()
    """Alerts that are open now."""
    past_days: float = 0
    past_alerts: int = 0
    """Alerts of the last ``past_days`` it would have been about."""
    past_muted: int = 0
    """Those of them that came while it would have muted."""
