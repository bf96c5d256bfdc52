"""When people are notified: settings of grouping, silences, flapping, storms and escalation."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.healer.notify.inhibition import Inhibition
from services.healer.notify.silences import Silence
from shared.contracts.alerts import Severity


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Flapping(_Part):
    """An alert that opens again and again is notified once, and again when it is calm.

    The score is the number of its openings, each counting less with age.
    """

    start: float = Field(
        default=4.5, gt=1, description="With this score an alert begins to count as flapping."
    )
    stop: float = Field(
        default=2.0, gt=0, description="Below this score a flapping alert counts as calm."
    )
    half_life_s: float = Field(
        default=1800, gt=0, description="An opening of an alert counts half after so long."
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

    alerts: int = Field(
        default=50, ge=1, description="More alerts than this within the window are a storm."
    )
    causes: int = Field(
        default=3,
        ge=1,
        description="So are more causes than this which, with the alerts that follow from them, "
        "are more than `alerts`.",
    )
    window_s: float = Field(
        default=60, gt=0, description="Alerts are counted over so many seconds."
    )
    interval_s: float = Field(
        default=60,
        gt=0,
        description="The pause after the first summary of a storm; it doubles with each summary.",
    )
    max_interval_s: float = Field(
        default=600, gt=0, description="The pause between two summaries never gets longer."
    )
    listed: int = Field(
        default=100,
        ge=1,
        le=2000,
        description="The number of alerts that a summary's text names; all of them are in its "
        "attachment.",
    )


class Escalation(_Part):
    """Who is notified when nobody acknowledges."""

    after_s: float = Field(
        gt=0, description="The time from the last notice of the alert to this step."
    )
    channels: tuple[str, ...] = Field(
        min_length=1, description="The names of the channels that are notified."
    )
    min_severity: Severity = Field(
        default=Severity.CRITICAL, description="Alerts of a lower severity are left out here."
    )


class Alerting(_Part):
    """When people are notified of what."""

    group_by: tuple[str, ...] = Field(
        default=("host",),
        description="Alerts whose values of these labels are equal share a notice.",
    )
    group_wait_s: float = Field(
        default=5,
        ge=0,
        description="How long the first alert of a group waits for others, so that one notice has "
        "them all.",
    )
    group_interval_s: float = Field(
        default=30,
        ge=0,
        description="The pause between two notices of a group; critical alarms do not wait for it.",
    )
    keep_firing_s: float = Field(
        default=0, ge=0, description="The time that an alert stays open after its cause has gone."
    )
    clear_margin: float = Field(
        default=0.02,
        ge=0,
        description="A value that is back by this share of the threshold resolves its alarm at "
        "once.",
    )
    clear_hold_s: float = Field(
        default=60,
        ge=0,
        description="A value that is back by less resolves its alarm when it has been back for so "
        "long.",
    )
    resolve_timeout_s: float = Field(
        default=300,
        gt=0,
        description="An alert of Prometheus or Alertmanager ends when it is not repeated for so "
        "long.",
    )
    inhibit: tuple[Inhibition, ...] = Field(
        default=(),
        description="The rules by which alerts are held back while another, their cause, is open.",
    )
    windows: tuple[Silence, ...] = Field(
        default=(),
        description="Silences that are part of the configuration, such as maintenance windows.",
    )
    escalation: tuple[Escalation, ...] = Field(
        default=(),
        description="The steps of escalation while nobody acknowledges an alert.",
    )
    flapping: Flapping = Field(
        default=Flapping(),
        description="The conditions in which an alert that opens again and again is held back.",
    )
    storm: Storm = Field(
        default=Storm(),
        description="The conditions in which alerts are notified in summaries only.",
    )
    silence_link_s: float = Field(
        default=14_400,
        gt=0,
        description="The length of the silence that the link in a mail makes.",
    )
    link_valid_s: float = Field(
        default=86_400, gt=0, description="The time for which a mail's links work."
    )
    mails_per_hour: int = Field(
        default=30,
        ge=1,
        description="The number of notices to one recipient within an hour; further ones come "
        "together as a digest.",
    )
    digest_every_s: float = Field(
        default=900, gt=0, description="The pause between two digests to one recipient."
    )
    runbooks: dict[
        str, Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s<>\"]+$")]
    ] = Field(
        default={},
        description="The page on which people read what to do, for each shell pattern of items; "
        "the first that fits counts where the policy's rule names no page of its own.",
    )
    channel_failing_s: float = Field(
        default=600,
        ge=0,
        description="When a channel cannot be reached for so long, the other channels say so.",
    )

    def runbook(self, item: str) -> str:
        """The page about an item; empty where there is none."""
        return next((url for name, url in self.runbooks.items() if fnmatchcase(item, name)), "")
