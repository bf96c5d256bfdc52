"""The reasons for which people were or were not notified of an alert, as a list of facts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.healer.model.action import ACTIONS
from services.healer.model.incident import INCIDENTS, REMEDYING, Incident
from services.healer.model.narrative import Narrative, Notified
from services.healer.model.notification import (
    DELIVERIES,
    FLAPS,
    HEARD,
    NOTIFICATION_STATES,
    SERIES_SEEN,
    STORM,
    NotificationState,
    NotificationStatus,
    series_key,
)
from services.healer.notify.channels.base import Channel
from services.healer.notify.opening import opening
from services.healer.notify.render.story import sentence
from services.healer.people.acknowledgement import NotFound
from shared.changes import with_changes
from shared.contracts.alerts import SeriesRef
from shared.contracts.healing import ActionState
from shared.contracts.message import deterministic_id
from shared.contracts.remediation import EvidenceTable
from shared.items import ITEMS
from shared.machine import machine_for
from shared.service import Context
from shared.store import Records

_SERIES, _INCIDENTS, _ANSWERED = 500, 1000, 50
_MAX_NAMED = 5
_BEGINNING = re.compile(r"[0-9a-f]{4,8}(-[0-9a-f-]*)?")
"""The first characters of an alert's id, as people copy them."""


class FactView(BaseModel):
    """One fact of the narrative, in words and with its numbers."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    kind: str
    sentence: str
    fact: dict[str, Any]
    deliveries: tuple[dict[str, str], ...] = ()
    """The deliveries of a notice: its recipients and their outcomes."""


class Story(BaseModel):
    """The narrative of an open or ended alert."""

    model_config = ConfigDict(frozen=True)

    alert_id: str
    series: SeriesRef
    state: str
    severity: str
    opened_at: datetime
    closed_at: datetime | None
    opening: str
    """The first sentences of a notice, if it were written now."""
    notification: str
    """The state of notification: waiting, pending, held, notified, over, or not for people."""
    held_by: str = ""
    until: datetime | None = None
    facts: tuple[FactView, ...]
    evidence: tuple[EvidenceTable, ...] = ()
    """The findings on the machine about the alert that was asked for; secrets are masked."""


class NotificationView(BaseModel):
    """The notification state of an alert."""

    status: str
    """The state of notification, as in a ``Story``."""
    held_by: str = ""
    until: datetime | None = None


def notification_views(alert_ids: Iterable[str], ctx: Context) -> dict[str, NotificationView]:
    """The notification state of each of these alerts that is known."""
    found: dict[str, NotificationView] = {}
    for alert_id in alert_ids:
        incident = ctx.records.get(INCIDENTS, alert_id)
        if incident is not None:
            notification = ctx.records.get(NOTIFICATION_STATES, alert_id)
            status, held_by, until = _status(incident, notification, ctx)
            found[alert_id] = NotificationView(status=status, held_by=held_by, until=until)
    return found


def story(alert_id: str, channels: Sequence[Channel], ctx: Context) -> Story:
    """The story of one alert.

    Raises:
        NotFound: when there is none with this id, or it was forgotten.
    """
    incident = ctx.records.get(INCIDENTS, alert_id)
    if incident is None:
        raise NotFound("there is no alert with this id, or it ended too long ago")
    return with_changes(_story(incident, channels, ctx), evidence=_evidence(incident))


def _evidence(incident: Incident) -> tuple[EvidenceTable, ...]:
    found = incident.evidence
    if found is None:
        return ()
    first = EvidenceTable(title=found.title, rows=found.rows, truncated=found.truncated)
    return tuple(table for table in (first, *found.more) if table.rows)


def why(
    host: str, item: str, at: datetime | None, channels: Sequence[Channel], ctx: Context
) -> list[Story]:
    """The stories of a machine's alerts, newest first.

    Args:
        host: the machine; or the beginning of an alert's id, open or ended.
        item: only alerts of this item; empty: of all.
        at: only alerts that were open then; None: all that are remembered.
        channels: those that notices go through.
        ctx: the time and the records.

    Raises:
        NotFound: when several alerts have an id that begins so, and no machine is called that.
    """
    found: list[Incident] = []
    for seen in ctx.records.find(SERIES_SEEN, group=machine_for(host), limit=_SERIES):
        if not item or seen.series.item == item:
            found += ctx.records.find(
                INCIDENTS, group=series_key(seen.series), limit=_INCIDENTS, newest_first=True
            )
    found = found or _begun(host, ctx.records)
    open_then = [i for i in found if at is None or _open_at(i, at)]
    newest = sorted(open_then, key=lambda incident: incident.opened_at, reverse=True)
    return [_story(incident, channels, ctx) for incident in newest[:_ANSWERED]]


def _begun(beginning: str, records: Records) -> list[Incident]:
    """The alert whose id begins so, if there is one."""
    if not _BEGINNING.fullmatch(beginning):
        return []
    meant = records.keys_beginning(INCIDENTS, beginning, _MAX_NAMED)
    if len(meant) > 1:
        raise NotFound(f"{beginning} may be {', '.join(meant)}; give more of the id")
    return [found for key in meant if (found := records.get(INCIDENTS, key)) is not None]


def _open_at(incident: Incident, at: datetime) -> bool:
    return incident.opened_at <= at and (incident.closed_at is None or at <= incident.closed_at)


def _story(incident: Incident, channels: Sequence[Channel], ctx: Context) -> Story:
    records = ctx.records
    notification = records.get(NOTIFICATION_STATES, incident.incident_id)
    heard = records.get(HEARD, incident.incident_id)
    past: Narrative = heard.history if heard else ()
    facts = [*incident.narrative, *past, *(notification.history if notification else ())]
    item = ITEMS.get(incident.series.item)
    unit = item.unit if item else ""
    status, held_by, until = _status(incident, notification, ctx)
    return Story(
        alert_id=incident.incident_id,
        series=incident.series,
        state=incident.state.value,
        severity=incident.severity.value,
        opened_at=incident.opened_at,
        closed_at=incident.closed_at,
        opening=_opening(incident, notification, ctx),
        notification=status,
        held_by=held_by,
        until=until,
        facts=tuple(
            FactView(
                at=fact.at,
                kind=fact.kind,
                sentence=sentence(fact, unit, ctx.now),
                fact=fact.model_dump(mode="json", exclude={"kind", "at"}),
                deliveries=tuple(_deliveries(fact, channels, records))
                if isinstance(fact, Notified)
                else (),
            )
            for fact in sorted(facts, key=lambda fact: fact.at)
        ),
    )


def _opening(incident: Incident, notification: NotificationState | None, ctx: Context) -> str:
    """A summary: what is wrong, what was done, and what is expected of whom."""
    action = ctx.records.get(ACTIONS, incident.action_id) if incident.action_id else None
    asked = action is not None and action.state is ActionState.PROPOSED
    if incident.closed_at is not None:
        return opening(incident, "handled" if incident.handled else "resolved", ctx.now)
    kind = notification.kind if notification is not None else incident.tell
    flap = None
    if kind == "flapping":
        flap = ctx.records.get(FLAPS, series_key(incident.series))
    return opening(incident, kind, ctx.now, flap, action if asked else None)


def _status(
    incident: Incident, notification: NotificationState | None, ctx: Context
) -> tuple[str, str, datetime | None]:
    """The state of notification, what holds it, and until when."""
    if incident.closed_at is not None and notification is None:
        return "over", "", None
    if notification is None and incident.phase in REMEDYING:
        return "being handled", incident.remediation, incident.due
    if notification is None:
        return "not for people", "", None
    storm = ctx.records.get(STORM, "storm")
    if notification.status is NotificationStatus.PENDING and storm is not None and storm.active:
        return "held", "storm: the next summary tells of it", storm.next_at
    taken = notification.acknowledged and notification.status is NotificationStatus.NOTIFIED
    return (
        "acknowledged" if taken else notification.status.shown,
        notification.held_by,
        notification.due,
    )


def _deliveries(
    notice: Notified, channels: Sequence[Channel], records: Records
) -> Iterator[dict[str, str]]:
    for channel in channels:
        for recipient in channel.recipients():
            about = ("delivery", notice.message_id, channel.name, recipient)
            delivery = records.get(DELIVERIES, deterministic_id(*about))
            if delivery is not None:
                yield {
                    "channel": channel.name,
                    "recipient": recipient,
                    "status": delivery.status,
                    "attempts": str(delivery.attempts),
                    "problem": delivery.problem,
                }
