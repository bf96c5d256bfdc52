"""Settings of the client service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import ServiceSettings


class ClientSettings(ServiceSettings):
    """What can be set for the client service."""

    http_host: str = Field(default="127.0.0.1", description="Where API and page listen.")
    http_port: int = Field(default=8080, ge=0, le=65_535, description="0: any free port.")
    allowed_hosts: str = Field(
        default="localhost,127.0.0.1,[::1]",
        description="Names, with commas, under which browsers may address the page.",
    )
    api_token: SecretStr = Field(
        default=SecretStr(""), description="Bearer token callers must present; empty: none."
    )
    s3_public_url: str = Field(
        default="", description="S3 endpoint as those who upload reach it; empty: S3_URL."
    )
    healer_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        description="The healer's API as callers reach it, for what can be done about an alert.",
    )
    maildir: Path | None = Field(default=None, description="Local mailbox to show at /mail.")
    max_package_bytes: int = Field(
        default=20 * 2**30, gt=0, description="Largest package that may be uploaded."
    )

    @property
    def hosts(self) -> frozenset[str]:
        """The allowed names, in lower case."""
        return frozenset(h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip())
