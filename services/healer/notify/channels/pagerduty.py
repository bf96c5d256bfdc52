"""PagerDuty's Events API, version 2; one incident there per incident here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator

from services.healer.model.notice import ENDINGS, Line, Notice, Summary
from services.healer.notify.channels.base import Channel, Tools, channel, http_address
from services.healer.notify.channels.errors import ChannelRefused
from services.healer.notify.channels.http import post
from services.healer.notify.render.numbers import one_line
from services.healer.notify.render.story import shown_name
from services.healer.notify.render.text import page_of
from services.healer.notify.render.title import claim

_SUMMARY = 1024


@channel
class PagerDuty(Channel):
    """Sends events whose ``dedup_key`` is the incident's id, so that repeats change nothing."""

    TYPE: ClassVar[str] = "pagerduty"

    routing_key: SecretStr = Field(description="The integration key of the service there.")
    url: SecretStr = Field(
        default=SecretStr("https://events.pagerduty.com/v2/enqueue"),
        description="The address of the Events API.",
    )
    _is_http = field_validator("url")(http_address)

    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        """One event for each alert; of a storm, one for all. A refused one keeps back no other."""
        refused: ChannelRefused | None = None
        for event in self.events(notice, tools):
            try:
                post(self.url, event, {})
            except ChannelRefused as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def events(self, notice: Notice | Summary, tools: Tools) -> Iterator[dict[str, Any]]:
        """The events in the order they are sent."""
        if isinstance(notice, Summary):
            yield self._summary(
                notice, "resolve" if notice.kind == "storm over" else "trigger", tools
            )
            if notice.kind in {"test", "digest", "canary", "job"}:
                yield self._summary(notice, "resolve", tools)
            # What an event of its own has opened is not ended by the storm's.
            for row in notice.rows:
                if row.alone and row.kind in ENDINGS:
                    yield self._envelope("resolve", row.incident_id, page_of(row, tools.page_url))
            return
        first, *others = notice.lines()
        # An event calls somebody: not for an alert that only shares its notice with another one.
        rows = [row for row in (first, *others) if self.concerns(row)] or [first]
        for row in rows:
            yield self._event(row, notice, tools)
        if notice.ends and notice.ends != notice.incident_id:
            page = page_of(notice, tools.page_url)
            yield self._envelope("resolve", notice.ends, page)

    def _event(self, row: Line, notice: Notice, tools: Tools) -> dict[str, Any]:
        action = "trigger"
        if row.kind in ENDINGS:
            action = "resolve"
        elif row.kind == "acknowledged":
            action = "acknowledge"
        details: dict[str, Any] = {"sentence": row.sentence, "value": row.value, **row.labels}
        if row.incident_id == notice.incident_id:
            details |= {
                "opening": notice.opening,
                "why": self.why(notice),
                "next_step": notice.next_step,
                "story": [f"{at} {sentence}" for at, sentence in notice.story],
                "actions": list(notice.actions),
                "evidence": [dict(e.columns) for e in notice.evidence],
                "suggested_command": notice.suggested_command,
                "attached": notice.attached_total,
            }
        page, own = page_of(row, tools.page_url), row.incident_id == notice.incident_id
        runbook = notice.runbook_url if own else ""
        return self._envelope(action, row.incident_id, page, runbook) | {
            "payload": {
                "summary": one_line(claim(row, notice.at), _SUMMARY),
                "source": row.series.host,
                "severity": row.severity.value,
                "timestamp": notice.at.isoformat(),
                "component": shown_name(row.series),
                "group": notice.group,
                "class": row.family,
                "custom_details": details,
            }
        }

    def _summary(self, notice: Summary, action: str, tools: Tools) -> dict[str, Any]:
        return self._envelope(action, notice.thread_id or notice.message_id, tools.page_url) | {
            "payload": {
                "summary": one_line(f"{notice.kind}: {notice.headline}", _SUMMARY),
                "source": "barograph",
                "severity": notice.severity.value,
                "timestamp": notice.at.isoformat(),
                "custom_details": {
                    "text": self.text(notice)[:8000],
                    "why": self.why(notice),
                    "counts": dict(notice.counts),
                },
            }
        }

    def _envelope(self, action: str, key: str, page: str, runbook: str = "") -> dict[str, Any]:
        named = ((page, "Barograph"), (runbook, "Runbook"))
        links = [{"href": href, "text": text} for href, text in named if href]
        return {
            "routing_key": self.routing_key.get_secret_value(),
            "event_action": action,
            "dedup_key": key[:255],
            "client": "Barograph",
            "client_url": page,
            "links": links,
        }
