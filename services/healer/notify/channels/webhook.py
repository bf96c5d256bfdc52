"""A webhook of one's own: everything a notice says, as JSON, signed if wanted."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, ClassVar

import orjson
from pydantic import Field, SecretStr, field_validator

from services.healer.model.notice import Notice, Summary
from services.healer.notify.channels.base import Channel, Tools, channel, http_address
from services.healer.notify.channels.http import post
from services.healer.notify.render.text import page_of

_MAX_ALERTS = 1000


@channel
class Webhook(Channel):
    """POST of JSON; ``id`` (and ``Idempotency-Key``) is the same when it is sent again."""

    TYPE: ClassVar[str] = "webhook"

    url: SecretStr = Field(description="The address that notices are sent to.")
    headers: dict[str, SecretStr] = Field(
        default={}, description="Further headers of each request, such as Authorization."
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="A secret with which each body is signed: the header X-Barograph-Signature is "
        "sha256= and the HMAC-SHA256 of the body in hexadecimal digits.",
    )
    _is_http = field_validator("url")(http_address)

    def send(self, told: Notice | Summary, recipient: str, tools: Tools) -> None:
        """One request."""
        body = orjson.dumps(self.body(told, tools))
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": told.message_id}
        secret = self.secret.get_secret_value()
        if secret:
            signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Barograph-Signature"] = f"sha256={signature}"
        post(self.url, body, headers)

    def body(self, told: Notice | Summary, tools: Tools) -> dict[str, Any]:
        """What is sent."""
        rows = told.lines()
        found: dict[str, Any] = {
            "version": "1",
            "id": told.message_id,
            "thread": told.thread_id or told.message_id,
            "kind": told.kind,
            "severity": told.severity.value,
            "title": self.title(told),
            "text": self.text(told),
            "at": told.at.isoformat(),
            "url": page_of(told, tools.page_url),
            "why": self.why(told),
            "alerts": [row.model_dump(mode="json") for row in rows[:_MAX_ALERTS]],
            "alerts_total": len(rows),
        }
        if isinstance(told, Summary):
            return found | {"counts": dict(told.counts)}
        return found | {
            "evidence": [row.columns for row in told.evidence],
            "evidence_title": told.evidence_title,
            "evidence_more": [
                {"title": found.title, "rows": [row.columns for row in found.rows]}
                for found in told.evidence_more
            ],
            "opening": told.opening,
            "story": [{"at": at, "sentence": sentence} for at, sentence in told.story],
            "next_step": told.next_step,
            "runbook_url": told.runbook_url,
            "actions": told.actions,
            "suggested_command": told.suggested_command,
            "crossing_ms": told.crossing_ms,
            "anomaly_kind": told.anomaly_kind,
            "attached_total": told.attached_total,
        }
