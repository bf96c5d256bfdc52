"""Slack's incoming webhooks, which Mattermost, Rocket.Chat and Discord (``/slack``) accept, too."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator

from services.healer.model.notice import Notice, Summary
from services.healer.notify.channels.base import Channel, Tools, channel, http_address
from services.healer.notify.channels.http import post
from services.healer.notify.render.text import colour, page_of

_TITLE, _SECTION = 3000, 2900


@channel
class Slack(Channel):
    """A short coloured message; texts of alerts can neither mention people nor make links."""

    TYPE: ClassVar[str] = "slack"

    url: SecretStr = Field(description="The webhook's address; it holds its own token.")
    _is_http = field_validator("url")(http_address)

    def send(self, told: Notice | Summary, recipient: str, tools: Tools) -> None:
        """One request."""
        post(self.url, self.body(told, tools), {"Idempotency-Key": told.message_id})

    def body(self, told: Notice | Summary, tools: Tools) -> dict[str, Any]:
        """The message as Slack's blocks."""
        head, text = _escaped(self.title(told))[:_TITLE], _escaped(self.text(told))
        if len(text) > _SECTION:
            text = text[:_SECTION] + "…"
        fence = "" if self.text_template else "```"
        blocks: list[dict[str, Any]] = [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{head}*"[:_TITLE]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": f"{fence}{text}{fence}"}},
        ]
        links = [f"<{page_of(told, tools.page_url)}|Open the page>"] if tools.page_url else []
        runbook = told.runbook_url if isinstance(told, Notice) else ""
        links += [f"<{_escaped(runbook).replace('|', '%7C')}|Runbook>"] if runbook else []
        if links:
            elements = [{"type": "mrkdwn", "text": link} for link in links]
            blocks.append({"type": "context", "elements": elements})
        return {"text": head, "attachments": [{"color": colour(told), "blocks": blocks}]}


def _escaped(text: str) -> str:
    flat = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return flat.replace("```", "'''")
