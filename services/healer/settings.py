"""The healer's settings: who handles what, how long it waits, where mail goes."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationError, field_validator

from services.healer.mail.smtp import check_url
from services.healer.policy import Policy
from services.healer.remediations import registered
from shared.settings import ServiceSettings


class HealerSettings(ServiceSettings):
    """``BAROGRAPH_HEALER_…``; ``POLICY`` takes JSON."""

    policy: Policy = Field(default=Policy(), description="Who handles what.")
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
    keep_days: float = Field(default=30, gt=0, description="How long ended incidents are kept.")

    @field_validator("policy", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            policy = Policy.model_validate_json(value)
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise ValueError("; ".join(faults)) from None
        unknown = policy.unknown(registered())
        if unknown:
            msg = f"no remediation {', '.join(unknown)}; there are {', '.join(registered())}"
            raise ValueError(msg)
        return policy

    @field_validator("smtp_url")
    @classmethod
    def _usable(cls, value: SecretStr) -> SecretStr:
        fault = check_url(value.get_secret_value()) if value.get_secret_value() else ""
        if fault:
            raise ValueError(fault)
        return value

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who gets the mails; empty where none can or shall be sent."""
        if not self.smtp_url.get_secret_value():
            return ()
        return tuple(part.strip() for part in self.mail_to.split(",") if part.strip())
