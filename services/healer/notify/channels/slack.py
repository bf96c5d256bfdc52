"""Slack's incoming webhooks, which Mattermost, Rocket.Chat and Discord (``/slack``) accept, too."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator

from services.healer.model.notice import Notice, Summary
from services.healer.notify.channels.base import Channel, Tools, channel, http_address
from services.healer.notify.channels.http import post
from services.healer.notify.render.text import page_of
from services.healer.notify.render.title import colour

_TITLE, _SECTION = 3000, 2900
_READ = re.compile(r"@(?=\S)|://|\]\(|(?i:www\.)")


@channel
class Slack(Channel):
    """Sends a short coloured message; texts of alerts can neither mention people nor make links."""

    TYPE: ClassVar[str] = "slack"

    url: SecretStr = Field(description="The webhook's address; it holds its own token.")
    _is_http = field_validator("url")(http_address)

    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        """One request."""
        post(self.url, self.body(notice, tools), {"Idempotency-Key": notice.message_id})

    def body(self, notice: Notice | Summary, tools: Tools) -> dict[str, Any]:
        """The message as Slack's blocks."""
        head, text = _escaped(self.title(notice)), _escaped(self.text(notice))
        # Who writes a template may call people by it.
        head = (head if self.title_template else _inert(head))[:_TITLE]
        if len(text) > _SECTION:
            text = text[:_SECTION] + "…"
        fence = "" if self.text_template else "```"
        blocks: list[dict[str, Any]] = [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{head}*"[:_TITLE]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": f"{fence}{text}{fence}"}},
        ]
        links = [f"<{page_of(notice, tools.page_url)}|Open the page>"] if tools.page_url else []
        runbook = notice.runbook_url if isinstance(notice, Notice) else ""
        links += [f"<{_escaped(runbook).replace('|', '%7C')}|Runbook>"] if runbook else []
        if links:
            elements = [{"type": "mrkdwn", "text": link} for link in links]
            blocks.append({"type": "context", "elements": elements})
        return {"text": head, "attachments": [{"color": colour(notice), "blocks": blocks}]}


def _escaped(text: str) -> str:
    flat = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return flat.replace("```", "'''")


def _inert(text: str) -> str:
    """A text outside a block of code, where some servers look for names and links.

    A space that nobody sees stands within what would be read as one: ``@all``, ``http://…``,
    ``www.…``, ``[text](…)``.
    """
    return _READ.sub(lambda found: found[0][0] + "\N{ZERO WIDTH SPACE}" + found[0][1:], text)
