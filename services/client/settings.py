"""Settings of the client service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import ServiceSettings


class ClientSettings(ServiceSettings):
    """The settings of the client service."""

    http_host: str = Field(
        default="127.0.0.1",
        description="The address on which the HTTP API and the web page are served.",
    )
    http_port: int = Field(
        default=8080, ge=0, le=65_535, description="The port to listen on; 0 takes any free one."
    )
    allowed_hosts: str = Field(
        default="localhost,127.0.0.1,[::1]",
        description="The host names under which browsers may ask for the page, with commas.",
    )
    api_token: SecretStr = Field(
        default=SecretStr(""),
        description="The bearer token that callers must present; empty: no token is asked for.",
    )
    s3_public_url: str = Field(
        default="",
        description="The address of the S3 server as clients that upload reach it; empty: the same "
        "as S3_URL.",
    )
    healer_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        description="The healer's address as callers reach it, for acting on an alert.",
    )
    maildir: Path | None = Field(
        default=None,
        description="A local mailbox (Maildir) whose mails are shown at /mail; empty: none.",
    )
    healer_api_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        description="The healer's API as this service reaches it; empty: HEALER_URL.",
    )
    healer_token: SecretStr = Field(
        default=SecretStr(""),
        description="The healer's HTTP_TOKEN, for silences and its books; empty: none.",
    )
    max_package_bytes: int = Field(
        default=20 * 2**30,
        gt=0,
        description="The size in bytes of the largest package that may be uploaded.",
    )

    max_page_upload_bytes: int = Field(
        default=256 * 2**20,
        gt=0,
        description="The size in bytes of the largest package that may be uploaded through the "
        "page; such packages pass through this service's temporary directory.",
    )

    @property
    def hosts(self) -> frozenset[str]:
        """The allowed names, in lower case."""
        return frozenset(h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip())
