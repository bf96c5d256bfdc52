"""Reasons not to notify people of an alert now: a silence, a known cause, flapping."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from services.healer.model.notification import (
    FLAPS,
    NOTIFICATION_STATES,
    Flap,
    NotificationState,
    NotificationStatus,
    series_key,
)
from services.healer.notify.flapping import held_until
from services.healer.notify.inhibition import INHIBITIONS, Causes, Inhibition
from services.healer.notify.settings import Alerting
from services.healer.notify.silences import SILENCES, Silence
from shared.changes import changed
from shared.store import Records

_RECHECK = timedelta(seconds=60)
"""The longest time until an inhibited alert is checked again."""
_BY_RULE = "inhibited by "
OVERDUE = "prediction past its time"
"""The reason that holds a prediction that was not notified before its crossing."""
_MAX_NOTIFICATIONS = 50_000


@dataclass(frozen=True)
class Hold:
    """The alert is held back until a time, and then checked again."""

    by: str
    until: datetime
    cause: str = ""


@dataclass(frozen=True)
class Drop:
    """There is no longer anything to notify people of."""

    why: str


@dataclass(frozen=True)
class Announce:
    """People are notified that the series is flapping."""


Verdict = Hold | Drop | Announce | None
"""The decision on an alert; None: people are notified of it."""


class Filters:
    """The reasons at one moment to hold alerts back."""

    def __init__(self, settings: Alerting, records: Records, now: datetime) -> None:
        self._settings = settings
        self._records = records
        self._now = now
        self._announcing: set[str] = set()
        self._attached: dict[str, str] = {}
        """The cause to which each alert was attached at this moment."""

    def verdict(self, notification: NotificationState) -> Verdict:
        """Decide on an alert now; of a series' alerts, the newest must be decided first."""
        if notification.ended:
            return self._of_ended(notification)
        if (hold := self._silenced(notification)) is not None:
            return hold
        if self._still_attached(notification):
            return Hold(notification.held_by, self._recheck(notification), notification.cause)
        if (found := self._causes.of(notification.incident_id, notification.labels)) is not None:
            rule, cause = found
            if not self._follows(cause, notification.incident_id):
                self._attached[notification.incident_id] = cause
                return Hold(_BY_RULE + rule, self._recheck(notification), cause)
        if (hold := self._overdue(notification)) is not None:
            return hold
        return self._flapping(notification)

    def is_silenced(self, notification: NotificationState) -> bool:
        """Return whether a silence or a window covers it now."""
        return self._silenced(notification) is not None

    def is_muted(self, notification: NotificationState) -> bool:
        """Return whether it is silenced, or follows from a cause that people were notified of."""
        if self.is_silenced(notification):
            return True
        found = self._causes.of(notification.incident_id, notification.labels)
        cause = self._records.get(NOTIFICATION_STATES, found[1]) if found is not None else None
        # A cause that is attached to it itself holds nothing back.
        return cause is not None and self._is_notified(cause, {notification.incident_id})

    def _overdue(self, notification: NotificationState) -> Hold | None:
        """Hold a prediction whose crossing has passed, because the alarm would be notified."""
        crossing = notification.crossing_ms
        if crossing is None or crossing > self._now.timestamp() * 1000:
            return None
        return Hold(OVERDUE, self._recheck(notification))

    def _still_attached(self, notification: NotificationState) -> bool:
        """Return whether its cause still holds it, found by two look-ups."""
        if notification.status != "held" or not notification.cause:
            return False
        rule = self._by_name.get(notification.held_by.removeprefix(_BY_RULE))
        cause = self._records.get(NOTIFICATION_STATES, notification.cause)
        return (
            rule is not None
            and cause is not None
            and rule.is_source(cause.labels)
            and rule.is_target(notification.labels)
            and rule.place(cause.labels) == rule.place(notification.labels)
            and self._is_notified(cause, {notification.incident_id})
        )

    def _is_notified(self, cause: NotificationState, under: set[str]) -> bool:
        """Return whether people know of the cause, itself or as part of another's, or soon will.

        ``under``: what would be attached to it; causes that wait for each other hold nothing back.
        """
        if cause.ended or cause.incident_id in under:
            return False
        if cause.known:
            return True
        if cause.status is NotificationStatus.HELD and cause.cause:
            root = self._records.get(NOTIFICATION_STATES, cause.cause)
            return root is not None and self._is_notified(root, under | {cause.incident_id})
        if cause.status is NotificationStatus.HELD:
            return False
        holds = (self._silenced(cause), self._overdue(cause), self._damped_until(cause))
        return all(hold is None for hold in holds) or self._unannounced(cause)

    def _follows(self, effect: str, cause: str) -> bool:
        """Return whether ``effect`` was just attached to ``cause``, itself or by way of others."""
        above: str | None = effect
        while above is not None and above != cause:
            above = self._attached.get(above)
        return above is not None

    def _recheck(self, notification: NotificationState) -> datetime:
        """Check alerts at different times, even if they arrived together."""
        share = zlib.crc32(notification.incident_id.encode()) / 2**32
        return self._now + _RECHECK * (1 + share) / 2

    @cached_property
    def open(self) -> Sequence[NotificationState]:
        """Every alert that has not ended, oldest first."""
        found = self._records.find(NOTIFICATION_STATES, limit=_MAX_NOTIFICATIONS)
        return [notification for notification in found if not notification.ended]

    @cached_property
    def _silences(self) -> list[tuple[Silence, datetime]]:
        known = [*self._settings.windows, *self._records.find(SILENCES)]
        open_now = [(silence, silence.open_until(self._now)) for silence in known]
        return [(silence, until) for silence, until in open_now if until is not None]

    def effects(self, cause: str) -> list[NotificationState]:
        """The open alerts that follow from this one."""
        return [changed(s, cause=cause) for s in self._effects.get(cause, ())]

    @cached_property
    def _effects(self) -> dict[str, list[NotificationState]]:
        """The effects of each cause."""
        found: dict[str, list[NotificationState]] = {}
        for notification in self.open if self._rules else ():
            why = self._causes.of(notification.incident_id, notification.labels)
            if why is not None:
                found.setdefault(why[1], []).append(notification)
        return found

    @cached_property
    def _rules(self) -> list[Inhibition]:
        return [*self._settings.inhibit, *self._records.find(INHIBITIONS)]

    @cached_property
    def _by_name(self) -> dict[str, Inhibition]:
        return {rule.name: rule for rule in self._rules}

    @cached_property
    def _causes(self) -> Causes:
        found = [s for s in self.open if any(rule.is_source(s.labels) for rule in self._rules)]
        notified = [(s.incident_id, s.labels) for s in found if self._is_notified(s, set())]
        return Causes(self._rules, notified)

    def _of_ended(self, notification: NotificationState) -> Verdict:
        """Notify of an end only if people were notified of the alert."""
        heard, handled = notification.said is not None, notification.tell == "handled"
        if notification.said == "flapping" and self._flap(notification) is not None:
            return Drop("the series flaps, which ends when it is calm")
        if not heard and not handled and not self._unannounced(notification):
            return Drop("it ended before anybody had heard of it")
        for silence, _ in self._silences:
            if silence.covers(notification.labels) and not (heard and silence.tell_resolved):
                return Drop(f"its end is muted by silence {silence.silence_id}")
        return None if heard or handled else self._announce(notification)

    def _silenced(self, notification: NotificationState) -> Hold | None:
        ends = [(until, s) for s, until in self._silences if s.covers(notification.labels)]
        if not ends:
            return None
        until, silence = max(ends, key=lambda end: end[0])
        return Hold(f"silence {silence.silence_id}", until)

    def _flapping(self, notification: NotificationState) -> Hold | Announce | None:
        """Announce flapping once; then notify only of what lasts, or was known before."""
        if self._unannounced(notification) and _damped(notification):
            return self._announce(notification)
        until = self._damped_until(notification)
        return Hold("flapping", until) if until is not None else None

    def _damped_until(self, notification: NotificationState) -> datetime | None:
        """The time until which flapping holds the alert back, if it does."""
        flap = self._flap(notification)
        if flap is None or not _damped(notification):
            return None
        how = self._settings.flapping
        until = held_until(flap, notification.since, notification.severity, how)
        return until if until > self._now else None

    def _announce(self, notification: NotificationState) -> Announce:
        self._announcing.add(series_key(notification.series))
        return Announce()

    def _unannounced(self, notification: NotificationState) -> bool:
        """Return whether the series flaps and nobody was notified of that."""
        flap = self._flap(notification)
        return flap is not None and not flap.announced and flap.key not in self._announcing

    def _flap(self, notification: NotificationState) -> Flap | None:
        if not notification.flapping:
            return None
        return self._records.get(FLAPS, series_key(notification.series))


def _damped(notification: NotificationState) -> bool:
    """Return whether flapping affects it; alerts that people know or must handle are unaffected."""
    return not notification.known and notification.tell != "escalated"
