"""The healer's settings: policy, waits, notification."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from services.healer import remediations
from services.healer.correlation.settings import Correlation
from services.healer.jobs.rules import JobRule
from services.healer.model.policy import Policy
from services.healer.notify import channels
from services.healer.notify.addresses import address
from services.healer.notify.channels import Channel, parse
from services.healer.notify.channels.mail import Mail
from services.healer.notify.channels.smtp import check_url
from services.healer.notify.links import Links
from services.healer.notify.settings import Alerting
from services.healer.remediations import checked, registered
from shared.settings import ServiceSettings, check_replicas, from_json


class HealerSettings(ServiceSettings):
    """``BAROGRAPH_HEALER_…``; ``POLICY`` takes JSON."""

    REGISTRIES: ClassVar = (channels.REGISTRY, remediations.REGISTRY)

    replicas: int = Field(
        default=1,
        ge=1,
        description="The number of replicas of this service. One of them leads, the others stand "
        "by; more than one requires PostgreSQL.",
    )
    policy: Policy = Field(
        default=Policy(),
        description="The policy, as JSON: which alerts are handled automatically, and which need "
        "a person.",
    )
    alerting: Alerting = Field(
        default=Alerting(),
        description="The rules of notification, as JSON: grouping, silences, storms, escalation.",
    )
    channels: tuple[Channel, ...] = Field(
        default=(),
        description="The channels through which people are notified in addition to mails to "
        "MAIL_TO, as JSON.",
    )
    job_notices: tuple[JobRule, ...] = Field(
        default=(),
        description="Rules that notify people of jobs that do not ask for it, by name, "
        "owner, project, queue and label, as JSON.",
    )
    remediations: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="The remediations that may act through the Kubernetes API, each with its "
        "settings, as JSON.",
    )
    correlation: Correlation = Field(
        default=Correlation(),
        description="The settings by which correlation rules are mined, as JSON.",
    )
    canary_every_s: float = Field(
        default=0,
        ge=0,
        description="The interval between two canary alarms, which test the whole path; 0: none "
        "are raised.",
    )
    http_host: str = Field(
        default="127.0.0.1",
        description="The address on which the HTTP API and the pages linked from mails are served.",
    )
    http_port: int = Field(
        default=8081, ge=0, le=65_535, description="The port to listen on; 0 takes any free one."
    )
    http_token: SecretStr = Field(
        default=SecretStr(""), description="The bearer token that callers of the API must present."
    )
    allowed_hosts: str = Field(
        default="localhost,127.0.0.1,[::1]",
        description="The host names under which the API may be requested if no token is "
        "set, separated by commas.",
    )
    public_url: str = Field(
        default="",
        description="The healer's address for people; without it mails contain no links.",
    )
    link_keys: SecretStr = Field(
        default=SecretStr(""),
        description="The keys that sign links in mails, separated by commas: the first one "
        "signs, all are accepted. Empty: a key that the healer generates and keeps.",
    )
    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="The mail server: smtp://host:port, smtp+starttls://user:password@host or "
        "smtps://…; empty: no mail is sent. `?hello=NAME` gives the name by which the healer "
        "introduces itself to a server that does not take the machine's own.",
    )
    mail_from: str = Field(default="barograph@localhost", description="The sender of mails.")
    mail_to: str = Field(
        default="oncall@localhost",
        description="The recipients of mails, separated by commas; empty: no mail is sent.",
    )
    page_url: str = Field(
        default="", description="The web page's address for people, linked in mails."
    )
    evidence_wait_s: float = Field(
        default=15,
        gt=0,
        description="The longest time that a mail waits for the machine's evidence.",
    )
    remediation_wait_s: float = Field(
        default=300, gt=0, description="The longest time that a remediation may take."
    )
    settle_s: float = Field(
        default=5, ge=0, description="The pause between a remediation and reading the item again."
    )
    read_wait_s: float = Field(
        default=30, gt=0, description="The longest time that reading the item again may take."
    )
    alarm_wait_s: float = Field(
        default=600,
        gt=0,
        description="The time that the healer waits for the detector's alarm after the "
        "predicted time.",
    )
    delivery_lease_s: float = Field(
        default=180,
        gt=0,
        description="The time that a replica has to send a notification before another "
        "one sends it.",
    )
    keep_days: float = Field(
        default=30, gt=0, description="The time for which ended incidents are kept."
    )
    snapshots: Literal["file", "s3"] = Field(
        default="file",
        description="The place of the snapshots of machines' health: file, in STATE_DIR; "
        "s3, in the object store.",
    )

    @model_validator(mode="after")
    def _can_have_replicas(self) -> Self:
        check_replicas(self.replicas, self.store_url)
        return self

    @field_validator("remediations")
    @classmethod
    def _can_be_made(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return checked(value, "cluster")

    @field_validator("channels", mode="before")
    @classmethod
    def _of_their_types(cls, value: object) -> object:
        return parse(from_json(value)) if isinstance(value, str) else value

    @field_validator("link_keys")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        keys = [key.strip() for key in value.get_secret_value().split(",") if key.strip()]
        if keys:
            Links([key.encode() for key in keys])
        return value

    @model_validator(mode="after")
    def _channels_exist(self) -> Self:
        names = {channel.name for channel in self.all_channels}
        steps = {name for step in self.alerting.escalation for name in step.channels}
        if steps - names:
            missing = ", ".join(sorted(steps - names))
            raise ValueError(
                f"alerting.escalation: no channel {missing}; there are {sorted(names)}"
            )
        unreachable = [
            f"job_notices.{number}.to: no channel and no recipient of a mail channel is {target}"
            for number, rule in enumerate(self.job_notices)
            for target in rule.to
            if not any(channel.named(target) for channel in self.all_channels)
        ]
        if unreachable:
            raise ValueError("; ".join(unreachable))
        return self

    @field_validator("policy")
    @classmethod
    def _remediations_exist(cls, value: Policy) -> Policy:
        unknown = value.unknown(registered())
        if unknown:
            msg = f"no remediation {', '.join(unknown)}; there are {', '.join(registered())}"
            raise ValueError(msg)
        return value

    @field_validator("smtp_url")
    @classmethod
    def _usable(cls, value: SecretStr) -> SecretStr:
        fault = check_url(value.get_secret_value()) if value.get_secret_value() else ""
        if fault:
            raise ValueError(fault)
        return value

    @field_validator("mail_from")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        address(value)
        return value

    @property
    def hosts(self) -> frozenset[str]:
        """Host names of requests that are answered when there is no token."""
        names = {name.strip().strip("[]").lower() for name in self.allowed_hosts.split(",")}
        public = urlsplit(self.public_url).hostname
        return frozenset(names | ({public} if public else set()))

    @property
    def all_channels(self) -> tuple[Channel, ...]:
        """The configured channels, and ``mail`` if SMTP_URL and MAIL_TO are set."""
        to = tuple(part.strip() for part in self.mail_to.split(",") if part.strip())
        named = any(channel.name == "mail" for channel in self.channels)
        if not to or named or not self.smtp_url.get_secret_value():
            return self.channels
        return (Mail(name="mail", to=to), *self.channels)
