"""A dead man's switch: an external service that alerts people when our pings stop."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from services.healer.model.notice import Notice, Summary
from services.healer.notify.channels.base import Channel, Tools, channel, http_address
from services.healer.notify.channels.http import post


@channel
class Deadman(Channel):
    """Is pinged after every complete round of the canary, and by tests."""

    TYPE: ClassVar[str] = "deadman"

    url: SecretStr = Field(description="The address to ping, as healthchecks.io and others give.")
    canary: bool = Field(default=True, description="true: it is pinged after complete rounds.")
    _is_http = field_validator("url")(http_address)

    def wants(self, notice: Notice | Summary) -> bool:
        """Return whether the notice is about a complete round of the canary."""
        return isinstance(notice, Summary) and notice.kind == "canary"

    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        """Send the notice as one POST request."""
        body = {"id": notice.message_id, "kind": notice.kind, "at": notice.at.isoformat()}
        post(self.url, body, {"Idempotency-Key": notice.message_id})
