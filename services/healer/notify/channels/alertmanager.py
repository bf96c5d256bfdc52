"""Alertmanager's webhook, version 4: for everything that already understands Alertmanager."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator

from services.healer.model.notice import ENDINGS, Line, Notice, Summary
from services.healer.notify.channels.base import Channel, Tools, channel, http_address
from services.healer.notify.channels.http import post
from services.healer.notify.render.story import shown_name
from services.healer.notify.render.text import page_of
from shared.contracts.message import deterministic_id

_MAX_ALERTS = 1000
_OPEN = "0001-01-01T00:00:00Z"
"""Go's zero time: what Alertmanager says of alerts that have not ended."""


@channel
class Alertmanager(Channel):
    """Sends the body that Alertmanager itself would send."""

    TYPE: ClassVar[str] = "alertmanager"

    url: SecretStr = Field(description="The address that notices are sent to.")
    headers: dict[str, SecretStr] = Field(
        default={}, description="Further headers of each request, such as Authorization."
    )
    _is_http = field_validator("url")(http_address)

    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        """One request; a test is sent as an alert named BarographTest."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        post(self.url, self.body(notice, tools), headers | {"Idempotency-Key": notice.message_id})

    def body(self, notice: Notice | Summary, tools: Tools) -> dict[str, Any]:
        """Version 4 of the webhook's data."""
        rows = notice.lines()
        why = self.why(notice)
        alerts = [_alert(row, notice, tools, why) for row in rows[:_MAX_ALERTS]]
        if not alerts:
            alerts = [_about_barograph(notice, tools)]
        group = notice.group if isinstance(notice, Notice) else notice.kind
        firing = any(alert["status"] == "firing" for alert in alerts)
        return {
            "version": "4",
            "groupKey": f"{{}}:{{{group}}}",
            "truncatedAlerts": max(0, len(rows) - _MAX_ALERTS) + notice.left_out,
            "status": "firing" if firing else "resolved",
            "receiver": self.name,
            "groupLabels": dict(part.split("=", 1) for part in group.split(",") if "=" in part),
            "commonLabels": _common([alert["labels"] for alert in alerts]),
            "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
            "externalURL": tools.page_url,
            "alerts": alerts,
        }


def _alert(row: Line, notice: Notice | Summary, tools: Tools, why: str) -> dict[str, Any]:
    over = row.kind in ENDINGS
    notes = {"summary": row.sentence, "value": f"{row.value:g}", "kind": row.kind, "why": why}
    if isinstance(notice, Notice) and row.incident_id == notice.incident_id:
        notes |= _narrated(notice)
    return {
        "status": "resolved" if over else "firing",
        "labels": row.labels | {"alertname": shown_name(row.series), "instance": row.series.host},
        "annotations": notes,
        "startsAt": row.since.isoformat(),
        "endsAt": notice.at.isoformat() if over else _OPEN,
        "generatorURL": page_of(row, tools.page_url),
        "fingerprint": row.incident_id.replace("-", "")[:16],
    }


def _narrated(notice: Notice) -> dict[str, str]:
    """The incident's narrative under the names that Alertmanager's templates know."""
    story = "\n".join(f"{at} {sentence}" for at, sentence in notice.story)
    found = {
        "summary": notice.opening,
        "description": story,
        "next_step": notice.next_step,
        "runbook_url": notice.runbook_url,
    }
    return {name: text for name, text in found.items() if text}


def _about_barograph(notice: Notice | Summary, tools: Tools) -> dict[str, Any]:
    name = "Barograph" + notice.kind.title().replace(" ", "")
    over = notice.kind in {"storm over", "test", "job"}
    return {
        "status": "resolved" if over else "firing",
        "labels": {"alertname": name, "severity": notice.severity.value},
        "annotations": {"summary": getattr(notice, "headline", "")},
        "startsAt": notice.at.isoformat(),
        "endsAt": notice.at.isoformat() if over else _OPEN,
        "generatorURL": page_of(notice, tools.page_url),
        "fingerprint": deterministic_id(name).replace("-", "")[:16],
    }


def _common(many: list[dict[str, str]]) -> dict[str, str]:
    first, *others = many
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in others)}
