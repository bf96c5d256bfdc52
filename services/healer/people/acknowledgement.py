"""Acknowledging alerts, silencing them, and previewing a silence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from services.healer.actions import audit
from services.healer.incidents.store import IncidentStore
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.narrative import Acknowledged
from services.healer.model.notice import Line
from services.healer.model.notification import NOTIFICATION_STATES, NotificationStatus
from services.healer.model.transitions import Phase, collected
from services.healer.notify.compose import compose, line
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.matchers import labels_of
from services.healer.notify.notification_log import look_again
from services.healer.notify.silences import SILENCES, Silence
from services.healer.settings import HealerSettings
from shared.changes import with_changes
from shared.contracts import IncidentAcknowledge, Message
from shared.contracts.message import deterministic_id
from shared.service import Context
from shared.store import Records

_MAX_RECORDS = 20_000
_WINDOWS = 5


class NotFound(LookupError):
    """There is no such incident or silence, or it has ended."""


class Preview(BaseModel):
    """The effect that a silence would have."""

    model_config = ConfigDict(frozen=True)

    mutes_now: bool
    windows: tuple[tuple[datetime, datetime], ...]
    """The next times it mutes."""
    open: tuple[Line, ...]
    """Open alerts it is about."""
    past_days: float
    past_alerts: int
    """Alerts it would have been about within the last ``past_days``."""
    past_muted: int
    """The number of these that the silence would have muted, given its recurrence."""


@dataclass(frozen=True)
class People:
    """People's requests to the healer: acknowledge, silence, preview."""

    settings: HealerSettings
    incidents: IncidentStore
    dispatch: Dispatch

    @collected
    def acknowledge(self, incident_id: str, by: str, ctx: Context) -> Iterator[Message]:
        """Acknowledge it in somebody's name: nobody else is notified, except of its end.

        Raises:
            NotFound: when there is no such open incident.
        """
        incident = ctx.records.get(INCIDENTS, incident_id)
        if incident is None or incident.phase is Phase.CLOSED:
            raise NotFound("there is no open alert with this id")
        if incident.acknowledged_by:
            return
        taken = incident.acknowledged(by).tells(Acknowledged(at=ctx.now, by=by))
        notification = ctx.records.get(NOTIFICATION_STATES, incident_id)
        if notification is not None:
            calm: dict[str, object] = {"acknowledged": True}
            if notification.status is NotificationStatus.NOTIFIED:
                calm |= {"due": None, "notices": notification.notices + 1}
                notice = compose(notification, taken, "acknowledged", ctx.now)
                self.dispatch.put(notice, ctx, called=notification.called)
            ctx.records.put(NOTIFICATION_STATES, with_changes(notification, **calm))
        yield from self.incidents.store(incident, taken, ctx)

    def incident_acknowledge(self, message: IncidentAcknowledge, ctx: Context) -> Iterable[Message]:
        """Acknowledge it as a page asks; after the incident has ended this changes nothing."""
        audit.note(ctx.records, ctx.now, message.TYPE, message.alert_id, by=message.by)
        try:
            return self.acknowledge(message.alert_id, message.by, ctx)
        except NotFound:
            return ()

    def silence(self, silence: Silence, ctx: Context) -> None:
        """Add a silence or change one: nobody is notified of its alerts from now on."""
        self._note("silence made", silence, silence.owner, ctx)
        ctx.records.put(SILENCES, silence)
        look_again(ctx)  # a shorter one may mute no longer what it held back

    def silence_incident(self, incident_id: str, by: str, ctx: Context) -> Silence:
        """Silence one alert's series for the configured time; the same again changes nothing.

        Raises:
            NotFound: when there is no such incident.
        """
        incident = ctx.records.get(INCIDENTS, incident_id)
        if incident is None:
            raise NotFound("there is no alert with this id")
        made = ctx.records.get(SILENCES, deterministic_id("silence", incident_id, by))
        if made is not None and made.open_until(ctx.now) is not None:
            return made
        labels = labels_of(incident.series, incident.family, incident.severity)
        # What is wrong with the series, and how badly, may change while it is silenced.
        wanted = {name: v for name, v in labels.items() if name not in {"family", "severity"}}
        length = timedelta(seconds=self.settings.alerting.silence_link_s)
        silence = Silence.model_validate(
            {
                "silence_id": deterministic_id("silence", incident_id, by),
                "matchers": [{"name": name, "value": value} for name, value in wanted.items()],
                "starts_at": ctx.now,
                "ends_at": ctx.now + length,
                "owner": by,
                "reason": "by a mail's link",
            }
        )
        self._note("silence made", silence, by, ctx)
        ctx.records.put(SILENCES, silence)
        return silence

    def end_silence(self, silence_id: str, ctx: Context, by: str = "") -> Silence:
        """End it now, as ``by`` asks; it stays visible for a while.

        Raises:
            NotFound: when there is none with this id that has not ended.
        """
        silence = ctx.records.get(SILENCES, silence_id)
        if silence is None or silence.ends_at <= ctx.now:
            raise NotFound("there is no silence with this id that has not ended")
        begins = min(silence.starts_at, ctx.now - timedelta(milliseconds=1))
        ended = with_changes(silence, starts_at=begins, ends_at=ctx.now)
        self._note("silence ended", silence, by, ctx)
        ctx.records.put(SILENCES, ended)
        look_again(ctx)
        return ended

    @staticmethod
    def _note(event: str, silence: Silence, by: str, ctx: Context) -> None:
        audit.note(
            ctx.records,
            ctx.now,
            event,
            silence.silence_id,
            matchers=", ".join(matcher.text() for matcher in silence.matchers),
            until=f"{silence.ends_at:%F %H:%M} UTC",
            by=by,
            reason=silence.reason,
        )

    @property
    def windows(self) -> Sequence[Silence]:
        """The configured silences."""
        return self.settings.alerting.windows

    def silences(self, ctx: Context) -> Sequence[Silence]:
        """All silences, the configured ones first."""
        return [*self.windows, *ctx.records.find(SILENCES)]

    def preview(self, silence: Silence, ctx: Context, days: float = 7) -> Preview:
        """The alerts that it would mute now and in its next windows, and would have muted."""
        since = ctx.now - timedelta(days=days)
        past = [i for i in _incidents(ctx.records) if i.opened_at >= since and _about(silence, i)]
        muted = [i for i in past if _would_have_muted(silence, i.opened_at)]
        notifications = ctx.records.find(NOTIFICATION_STATES, limit=_MAX_RECORDS)
        now_open = [s for s in notifications if not s.ended and silence.covers(s.labels)]
        return Preview(
            mutes_now=silence.open_until(ctx.now) is not None,
            windows=tuple(silence.windows(ctx.now, _WINDOWS)),
            open=tuple(line(s, s.tell) for s in now_open),
            past_days=days,
            past_alerts=len(past),
            past_muted=len(muted),
        )


def _incidents(records: Records) -> Sequence[Incident]:
    return records.find(INCIDENTS, limit=_MAX_RECORDS, newest_first=True)


def _about(silence: Silence, incident: Incident) -> bool:
    labels = labels_of(incident.series, incident.family, incident.severity)
    return silence.covers(labels)


def _would_have_muted(silence: Silence, moment: datetime) -> bool:
    return silence.recurrence is None or silence.recurrence.open_at(moment) is not None
