"""When people are told: settings of grouping, silences, flapping, storms and escalation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.healer.notify.inhibition import Inhibition
from services.healer.notify.silences import Silence
from shared.contracts.alerts import Severity


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Flapping(_Part):
    """An alert that opens again and again is told once, and again when it is calm.

    The score is the number of its openings, each counting less with age.
    """

    start: float = Field(default=4.5, gt=1, description="From this score on it flaps.")
    stop: float = Field(default=2.0, gt=0, description="Below this score it is calm again.")
    half_life_s: float = Field(
        default=1800, gt=0, description="After this time an opening counts half."
    )
    max_hold_s: float = Field(
        default=300,
        gt=0,
        description="A firing that lasts longer than this is notified although the alert flaps; "
        "sooner where its firings are usually shorter.",
    )
    max_hold_critical_s: float = Field(
        default=120, gt=0, description="The same for a critical alert, where that is sooner."
    )

    @model_validator(mode="after")
    def _apart(self) -> Flapping:
        if self.stop >= self.start:
            msg = "stop must be below start"
            raise ValueError(msg)
        return self


class Storm(_Part):
    """When more alerts come than a person reads, one summary tells of all."""

    alerts: int = Field(default=50, ge=1, description="More than these within the window: storm.")
    causes: int = Field(
        default=3,
        ge=1,
        description="Or more than these, and with all that follows from them more than `alerts`.",
    )
    window_s: float = Field(default=60, gt=0)
    interval_s: float = Field(
        default=60, gt=0, description="Pause after the first summary; it doubles with each."
    )
    max_interval_s: float = Field(default=600, gt=0)
    listed: int = Field(
        default=100, ge=1, le=2000, description="Alerts named in the summary; all are attached."
    )


class Escalation(_Part):
    """Who is told when nobody acknowledges."""

    after_s: float = Field(gt=0, description="Since the last notice of the alert.")
    channels: tuple[str, ...] = Field(min_length=1)
    min_severity: Severity = Field(
        default=Severity.CRITICAL, description="Only from this severity on."
    )


class Alerting(_Part):
    """When people are told of what."""

    group_by: tuple[str, ...] = Field(
        default=("host",), description="Alerts with these labels alike are told together."
    )
    group_wait_s: float = Field(
        default=5, ge=0, description="How long a first alert waits for others of its group."
    )
    group_interval_s: float = Field(
        default=30,
        ge=0,
        description="Pause between notices of a group; critical alarms do not wait for it.",
    )
    keep_firing_s: float = Field(
        default=0, ge=0, description="How long the cause must be gone before it is resolved."
    )
    clear_margin: float = Field(
        default=0.02, ge=0, description="Share of the threshold by which a value must be back ..."
    )
    clear_hold_s: float = Field(
        default=60, ge=0, description="... or else be back for this long, before it is resolved."
    )
    resolve_timeout_s: float = Field(
        default=300, gt=0, description="Alerts from outside end when not repeated for this long."
    )
    inhibit: tuple[Inhibition, ...] = ()
    windows: tuple[Silence, ...] = Field(default=(), description="Maintenance windows.")
    escalation: tuple[Escalation, ...] = Field(default=(), description="One step after another.")
    flapping: Flapping = Flapping()
    storm: Storm = Storm()
    silence_link_s: float = Field(
        default=14_400, gt=0, description="How long a mail's silence link mutes."
    )
    link_valid_s: float = Field(default=86_400, gt=0, description="How long a mail's links work.")
    mails_per_hour: int = Field(
        default=30, ge=1, description="Notices to one recipient an hour; more come as a digest."
    )
    digest_every_s: float = Field(default=900, gt=0)
    channel_failing_s: float = Field(
        default=600,
        ge=0,
        description="A channel that cannot be reached for this long is reported by the others.",
    )
