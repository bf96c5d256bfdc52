"""Settings of notification: grouping, silences, flapping, storms and escalation."""

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
    """An alert that opens repeatedly is notified once, and again when it is calm.

    The score is the number of its openings, each counting less with age.
    """

    start: float = Field(
        default=4.5, gt=1, description="The score at which an alert begins to count as flapping."
    )
    stop: float = Field(
        default=2.0, gt=0, description="The score below which a flapping alert counts as calm."
    )
    half_life_s: float = Field(
        default=1800, gt=0, description="The time after which an opening of an alert counts half."
    )
    max_hold_s: float = Field(
        default=300,
        gt=0,
        description="The time after which a firing alert is notified although it flaps; "
        "it is notified sooner if it usually fires for a shorter time.",
    )
    max_hold_critical_s: float = Field(
        default=120, gt=0, description="The same time for critical alerts, if it is shorter."
    )

    @model_validator(mode="after")
    def _apart(self) -> Flapping:
        if self.stop >= self.start:
            msg = "stop must be below start"
            raise ValueError(msg)
        return self


class Storm(_Part):
    """Summaries replace single notifications when more alerts arrive than people can read."""

    alerts: int = Field(
        default=50,
        ge=1,
        description="The number of alerts within the window above which they count as a storm.",
    )
    causes: int = Field(
        default=3,
        ge=1,
        description="The number of causes within the window above which they count as a "
        "storm, if together with the alerts that follow from them they exceed `alerts`.",
    )
    window_s: float = Field(
        default=60, gt=0, description="The length of the window in which alerts are counted."
    )
    interval_s: float = Field(
        default=60,
        gt=0,
        description="The pause after the first summary of a storm; it doubles with each summary.",
    )
    max_interval_s: float = Field(
        default=600, gt=0, description="The longest pause between two summaries."
    )
    listed: int = Field(
        default=100,
        ge=1,
        le=2000,
        description="The number of alerts that a summary's text names; all of them are in its "
        "attachment.",
    )


class Escalation(_Part):
    """A step of escalation while nobody acknowledges an alert."""

    after_s: float = Field(
        gt=0, description="The time from the last notice of the alert to this step."
    )
    channels: tuple[str, ...] = Field(
        min_length=1, description="The names of the channels that are notified."
    )
    min_severity: Severity = Field(
        default=Severity.CRITICAL, description="Alerts of a lower severity are not sent here."
    )


class Alerting(_Part):
    """The rules of notification."""

    group_by: tuple[str, ...] = Field(
        default=("host",),
        description="Alerts with equal values of these labels share a notification.",
    )
    group_wait_s: float = Field(
        default=5,
        ge=0,
        description="The time that the first alert of a group waits for others to share "
        "its notification.",
    )
    group_interval_s: float = Field(
        default=30,
        ge=0,
        description="The interval between two notifications of a group; critical alarms do not "
        "wait for it.",
    )
    keep_firing_s: float = Field(
        default=0,
        ge=0,
        description="The time for which an alert stays open after its cause has gone.",
    )
    clear_margin: float = Field(
        default=0.02,
        ge=0,
        description="The share of the threshold by which a value must be back to resolve "
        "its alarm at once.",
    )
    clear_hold_s: float = Field(
        default=60,
        ge=0,
        description="The time after which a value that is back by less resolves its alarm.",
    )
    resolve_timeout_s: float = Field(
        default=300,
        gt=0,
        description="The time after which an alert from Prometheus or Alertmanager ends "
        "unless it is repeated.",
    )
    inhibit: tuple[Inhibition, ...] = Field(
        default=(),
        description="Rules by which alerts are held back while their cause is open.",
    )
    windows: tuple[Silence, ...] = Field(
        default=(),
        description="Silences that are part of the configuration, such as maintenance windows.",
    )
    escalation: tuple[Escalation, ...] = Field(
        default=(),
        description="The steps of escalation while nobody acknowledges an alert.",
    )
    repeat_interval_s: float = Field(
        default=14_400,
        ge=0,
        description="The interval after which people are notified again of a critical alert that "
        "nobody has acknowledged, once no step of escalation is left; 0: never. Predictions are "
        "not repeated.",
    )
    flapping: Flapping = Field(
        default=Flapping(),
        description="The conditions under which an alert that opens repeatedly is held back.",
    )
    storm: Storm = Field(
        default=Storm(),
        description="The conditions under which alerts are notified in summaries only.",
    )
    silence_link_s: float = Field(
        default=14_400,
        gt=0,
        description="The length of a silence created by the link in a mail.",
    )
    link_valid_s: float = Field(
        default=86_400, gt=0, description="The time for which the links in a mail work."
    )
    mails_per_hour: int = Field(
        default=30,
        ge=1,
        description="The number of notifications to one recipient within an hour; further ones "
        "are combined into a digest.",
    )
    digest_every_s: float = Field(
        default=900, gt=0, description="The interval between two digests to one recipient."
    )
    digest_critical_s: float = Field(
        default=60,
        gt=0,
        description="The longest time that a critical alert waits for a digest.",
    )
    runbooks: dict[
        str, Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s<>\"]+$")]
    ] = Field(
        default={},
        description="Runbooks by shell pattern of items; the first match is used if the policy's "
        "rule names none.",
    )
    channel_failing_s: float = Field(
        default=600,
        ge=0,
        description="The time for which a channel must have been unreachable before the "
        "other channels report it.",
    )

    def runbook(self, item: str) -> str:
        """The page about an item; empty where there is none."""
        return next((url for name, url in self.runbooks.items() if fnmatchcase(item, name)), "")
