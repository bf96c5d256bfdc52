"""A webhook: the complete notification as JSON, optionally signed."""

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
    """Posts JSON; a repeat has the same ``id`` and ``Idempotency-Key``."""

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

    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        """One request."""
        body = orjson.dumps(self.body(notice, tools))
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": notice.message_id}
        secret = self.secret.get_secret_value()
        if secret:
            signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Barograph-Signature"] = f"sha256={signature}"
        post(self.url, body, headers)

    def body(self, notice: Notice | Summary, tools: Tools) -> dict[str, Any]:
        """The body that is sent."""
        rows = notice.lines()
        found: dict[str, Any] = {
            "version": "1",
            "id": notice.message_id,
            "thread": notice.thread_id or notice.message_id,
            "kind": notice.kind,
            "severity": notice.severity.value,
            "title": self.title(notice),
            "text": self.text(notice),
            "at": notice.at.isoformat(),
            "url": page_of(notice, tools.page_url),
            "why": self.why(notice),
            "alerts": [row.model_dump(mode="json") for row in rows[:_MAX_ALERTS]],
            "alerts_total": len(rows) + notice.left_out,
        }
        if isinstance(notice, Summary):
            return found | {"counts": dict(notice.counts)}
        return found | {
            "evidence": [row.columns for row in notice.evidence],
            "evidence_title": notice.evidence_title,
            "evidence_more": [
                {"title": found.title, "rows": [row.columns for row in found.rows]}
                for found in notice.evidence_more
            ],
            "opening": notice.opening,
            "story": [{"at": at, "sentence": sentence} for at, sentence in notice.story],
            "next_step": notice.next_step,
            "runbook_url": notice.runbook_url,
            "actions": notice.actions,
            "suggested_command": notice.suggested_command,
            "crossing_ms": notice.crossing_ms,
            "anomaly_kind": notice.anomaly_kind,
            "attached_total": notice.attached_total,
        }
