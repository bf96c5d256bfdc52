"""The healer's settings: who handles what, how long it waits, where mail goes."""

from __future__ import annotations

from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from services.healer import remediations
from services.healer.correlation.settings import Correlation
from services.healer.model.policy import Policy
from services.healer.notify import channels
from services.healer.notify.channels import Channel, parse
from services.healer.notify.channels.mail import Mail
from services.healer.notify.channels.smtp import check_url
from services.healer.notify.links import Links
from services.healer.notify.settings import Alerting
from services.healer.remediations import checked, registered
from shared.settings import ServiceSettings, from_json


class HealerSettings(ServiceSettings):
    """``BAROGRAPH_HEALER_…``; ``POLICY`` takes JSON."""

    REGISTRIES: ClassVar = (channels.REGISTRY, remediations.REGISTRY)

    policy: Policy = Field(default=Policy(), description="Who handles what.")
    alerting: Alerting = Field(
        default=Alerting(), description="When people are told of what; JSON."
    )
    channels: tuple[Channel, ...] = Field(
        default=(), description="How people are told, beside MAIL_TO; JSON."
    )
    remediations: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="What it may do through the Kubernetes API: remediation to its settings; JSON.",
    )
    correlation: Correlation = Field(
        default=Correlation(), description="How rules of alarms that go together are found; JSON."
    )
    canary_every_s: float = Field(
        default=0, ge=0, description="Pause between test alarms of our own; 0: none."
    )
    http_host: str = Field(default="127.0.0.1", description="Where API and links listen.")
    http_port: int = Field(default=8081, ge=0, le=65_535, description="0: any free port.")
    http_token: SecretStr = Field(
        default=SecretStr(""), description="Bearer token callers of the API must present."
    )
    allowed_hosts: str = Field(
        default="localhost,127.0.0.1,[::1]",
        description="Without a token: names, by commas, under which the API may be addressed.",
    )
    public_url: str = Field(
        default="", description="The healer's address for people; without it mails have no links."
    )
    link_keys: SecretStr = Field(
        default=SecretStr(""),
        description="Keys that sign links, by commas; the first signs. Empty: one of our own.",
    )
    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="smtp://host:port, smtp+starttls://user:password@host, smtps://…; empty: none.",
    )
    mail_from: str = Field(default="barograph@localhost", description="Sender of mails.")
    mail_to: str = Field(
        default="oncall@localhost", description="Recipients, separated by commas; empty: no mail."
    )
    page_url: str = Field(default="", description="The web page's address, for links in mails.")
    evidence_wait_s: float = Field(
        default=15, gt=0, description="How long a mail waits for the machine's evidence."
    )
    remediation_wait_s: float = Field(
        default=300, gt=0, description="How long a remediation may take."
    )
    settle_s: float = Field(
        default=5, ge=0, description="Pause between a remediation and reading the item again."
    )
    read_wait_s: float = Field(default=30, gt=0, description="How long that reading may take.")
    alarm_wait_s: float = Field(
        default=600,
        gt=0,
        description="After a prediction came true: how long to wait for the detector's alarm.",
    )
    delivery_lease_s: float = Field(
        default=180,
        gt=0,
        description="How long a replica may take to send a notice before another one does.",
    )
    keep_days: float = Field(default=30, gt=0, description="How long ended incidents are kept.")

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

    @property
    def hosts(self) -> frozenset[str]:
        """Host names of requests that are answered when there is no token."""
        names = {name.strip().strip("[]").lower() for name in self.allowed_hosts.split(",")}
        public = urlsplit(self.public_url).hostname
        return frozenset(names | ({public} if public else set()))

    @property
    def all_channels(self) -> tuple[Channel, ...]:
        """Those configured, and ``mail`` where SMTP_URL and MAIL_TO are set."""
        to = tuple(part.strip() for part in self.mail_to.split(",") if part.strip())
        named = any(channel.name == "mail" for channel in self.channels)
        if not to or named or not self.smtp_url.get_secret_value():
            return self.channels
        return (Mail(name="mail", to=to), *self.channels)
