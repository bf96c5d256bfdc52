"""Settings of the client service."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from services.client.groups import GroupRights
from shared.settings import ServiceSettings

HEADER = r"^[A-Za-z0-9-]+$"


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
        description="The host names under which browsers may request the pages, separated by "
        "commas.",
    )
    api_token: SecretStr = Field(
        default=SecretStr(""),
        description="The bearer token that callers must present; empty: none is required.",
    )
    s3_public_url: str = Field(
        default="",
        description="The S3 server's address for clients that upload; empty: the same as S3_URL.",
    )
    healer_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        description="The healer's address for browsers and callers, which act on alerts there.",
    )
    maildir: Path | None = Field(
        default=None,
        description="A local mailbox (Maildir) whose mails are shown at /mail; empty: no such "
        "page.",
    )
    healer_api_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        description="The healer's address for this service; empty: the same as HEALER_URL.",
    )
    healer_token: SecretStr = Field(
        default=SecretStr(""),
        description="The healer's HTTP_TOKEN, needed for the pages of silences, machines, rules, "
        "ledger and audit log.",
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

    log_chunks: int = Field(
        default=20_000,
        ge=200,
        le=1_000_000,
        description="The number of newest chunks, of up to 200 KiB, of each job's log that can be "
        "followed. The object store has the whole log.",
    )

    session_s: float = Field(
        default=43_200,
        ge=300,
        le=604_800,
        description="The lifetime of a session of the pages.",
    )
    groups: dict[str, GroupRights] = Field(
        default={},
        description="The rights of the groups of people whom an identity provider or a proxy names;"
        ' the group * is everybody. JSON: {"ml": {"role": "submitter", "projects": ["vision"]}}.',
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        description="The address of the pages for browsers; required with OIDC_ISSUER.",
    )
    oidc_issuer: str = Field(
        default="",
        pattern=r"^(https?://[^\s/]+(/\S*)?)?$",
        description="The identity provider (OpenID Connect) at which people sign in; empty: none.",
    )
    oidc_client_id: str = Field(
        default="", description="The client id of this installation at the provider."
    )
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""), description="The secret of OIDC_CLIENT_ID; empty: a public client."
    )
    oidc_client_secret_file: Path | None = Field(
        default=None,
        description="A file with the secret, instead of OIDC_CLIENT_SECRET; it is read each time "
        "it is needed.",
    )
    oidc_scopes: str = Field(
        default="openid profile email", description="The requested scopes, separated by spaces."
    )
    oidc_name_claim: str = Field(
        default="preferred_username",
        description="The claim with the name that decisions carry; the subject if it is missing. "
        "It must be a claim that people cannot change themselves.",
    )
    oidc_groups_claim: str = Field(
        default="groups",
        description="The claim with a person's groups; a nested one is written as "
        "realm_access.roles.",
    )
    proxy_addresses: str = Field(
        default="",
        description="Addresses or networks, separated by commas, of proxies that authenticate "
        "people and name them in PROXY_USER_HEADER; empty: no such header is trusted.",
    )
    proxy_user_header: str = Field(
        default="X-Forwarded-User",
        pattern=HEADER,
        description="The header in which a trusted proxy names its user.",
    )
    proxy_groups_header: str = Field(
        default="X-Forwarded-Groups",
        pattern=HEADER,
        description="The header with the user's groups, separated by commas.",
    )

    @field_validator("proxy_addresses")
    @classmethod
    def _are_addresses(cls, listed: str) -> str:
        for each in filter(None, map(str.strip, listed.split(","))):
            ip_network(each)
        return listed

    @model_validator(mode="after")
    def _know_people(self) -> ClientSettings:
        faults = []
        if self.oidc_issuer:
            needed = {"PUBLIC_URL": self.public_url, "OIDC_CLIENT_ID": self.oidc_client_id}
            faults += [f"OIDC_ISSUER needs {name}" for name, given in needed.items() if not given]
        others = "OIDC_ISSUER" if self.oidc_issuer else "PROXY_ADDRESSES"
        if self.oidc_issuer or self.proxy_addresses:
            if not self.api_token.get_secret_value():
                faults.append(f"{others} needs API_TOKEN: without it everybody may do everything")
            if not self.groups:
                faults.append(f"{others} needs GROUPS: nobody would have any rights")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def oidc_secret(self) -> str:
        """The secret at the identity provider; '' for a public client."""
        if self.oidc_client_secret_file is not None:
            return self.oidc_client_secret_file.read_text(encoding="utf-8").strip()
        return self.oidc_client_secret.get_secret_value()

    @property
    def hosts(self) -> frozenset[str]:
        """The allowed names, in lower case."""
        return frozenset(h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip())
