"""An incident's narrative from the healer: what was observed, decided, done and notified.

The messages about alerts stay small; a page that shows one incident asks for its narrative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from services.client.alerts.timeline import Entry
from services.client.healer_api import HealerApi, HealerRefused, HealerUnavailable

_LONGEST_CELL = 300
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Table:
    """One look at the machine."""

    title: str
    names: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    truncated: bool


@dataclass(frozen=True)
class Story:
    """An alert's narrative from the healer."""

    opening: str
    """A summary: what is the matter, what was done, and what is wanted of whom."""
    notification: str
    held_by: str
    until: datetime | None
    entries: tuple[Entry, ...]
    evidence: tuple[Table, ...] = ()
    """The findings on the machine, the alarm's cause first."""


@dataclass(frozen=True)
class NotificationView:
    """The notification state of an alert."""

    status: str
    held_by: str
    until: datetime | None


def notifications_of(alert_ids: Sequence[str], healer: HealerApi) -> dict[str, NotificationView]:
    """Return the notification state of each alert; nothing if the healer is unavailable."""
    if not (healer.known and alert_ids):
        return {}
    try:
        found = healer.glance("notifications", alert_id=list(alert_ids))
        return {alert_id: _view(each) for alert_id, each in found.items()}
    except (HealerUnavailable, HealerRefused) as error:
        log.info("notifications_not_available", reason=str(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        log.warning("notifications_not_read", reason=repr(error))
    return {}


def _view(each: dict[str, Any]) -> NotificationView:
    until = each["until"] and datetime.fromisoformat(each["until"])
    return NotificationView(str(each["status"]), str(each["held_by"]), until)


def story_of(alert_id: str, healer: HealerApi) -> Story | None:
    """The alert's story; None where the healer cannot be asked, or has forgotten the alert."""
    if not healer.known:
        return None
    try:
        return _story(healer.glance("alerts", alert_id, "narrative"))
    except (HealerUnavailable, HealerRefused) as error:
        log.info("narrative_not_available", alert_id=alert_id, reason=str(error))
    except (LookupError, TypeError, ValueError) as error:
        # A healer of another version must not cost the page.
        log.warning("narrative_not_read", alert_id=alert_id, reason=repr(error))
    return None


def _story(narrative: dict[str, Any]) -> Story:
    until = narrative["until"]
    return Story(
        opening=narrative["opening"],
        notification=narrative["notification"],
        held_by=narrative["held_by"],
        until=until and datetime.fromisoformat(until),
        entries=tuple(_entry(number, fact) for number, fact in enumerate(narrative["facts"])),
        evidence=tuple(map(_table, narrative.get("evidence", ()))),
    )


def _table(found: dict[str, Any]) -> Table:
    rows = [row["columns"] for row in found["rows"]]
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    cells = tuple(tuple(str(row.get(n, ""))[:_LONGEST_CELL] for n in names) for row in rows)
    return Table(str(found["title"]), names, cells, bool(found["truncated"]))


def _entry(number: int, fact: dict[str, Any]) -> Entry:
    at = datetime.fromisoformat(fact["at"])
    sent = [
        f"{each['channel']} {each['recipient']}".strip()
        + f": {each['status']} {each['problem']}".rstrip()
        for each in fact["deliveries"]
    ]
    text = ". ".join([fact["sentence"], *sent])
    return Entry(round(at.timestamp() * 1000), fact["kind"], text, order=(0, number))
