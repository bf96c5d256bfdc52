"""Reasons not to notify people of an alert now: a silence, a known cause, flapping."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from services.healer.model.notification import (
    FLAPS,
    STANDINGS,
    Flap,
    Standing,
    StandingStatus,
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
"""None: people are notified of it."""


class Filters:
    """The reasons at one moment to hold alerts back."""

    def __init__(self, settings: Alerting, records: Records, now: datetime) -> None:
        self._settings = settings
        self._records = records
        self._now = now
        self._announcing: set[str] = set()
        self._attached: dict[str, str] = {}
        """The cause to which each alert was attached at this moment."""

    def verdict(self, standing: Standing) -> Verdict:
        """Decide on an alert now; of a series' alerts, the newest must be decided first."""
        if standing.ended:
            return self._of_ended(standing)
        if (hold := self._silenced(standing)) is not None:
            return hold
        if self._still_attached(standing):
            return Hold(standing.held_by, self._recheck(standing), standing.cause)
        if (found := self._causes.of(standing.incident_id, standing.labels)) is not None:
            rule, cause = found
            if not self._follows(cause, standing.incident_id):
                self._attached[standing.incident_id] = cause
                return Hold(_BY_RULE + rule, self._recheck(standing), cause)
        if (hold := self._overdue(standing)) is not None:
            return hold
        return self._flapping(standing)

    def is_silenced(self, standing: Standing) -> bool:
        """Whether a silence or a window covers it now."""
        return self._silenced(standing) is not None

    def is_muted(self, standing: Standing) -> bool:
        """Return whether it is silenced, or follows from a cause that people were notified of."""
        if self.is_silenced(standing):
            return True
        found = self._causes.of(standing.incident_id, standing.labels)
        cause = self._records.get(STANDINGS, found[1]) if found is not None else None
        # A cause that is attached to it itself holds nothing back.
        return cause is not None and self._is_notified(cause, {standing.incident_id})

    def _overdue(self, standing: Standing) -> Hold | None:
        """Hold a prediction whose crossing has passed, because the alarm would be notified."""
        crossing = standing.crossing_ms
        if crossing is None or crossing > self._now.timestamp() * 1000:
            return None
        return Hold(OVERDUE, self._recheck(standing))

    def _still_attached(self, standing: Standing) -> bool:
        """Whether its cause still holds it, found by two look-ups."""
        if standing.status != "held" or not standing.cause:
            return False
        rule = self._by_name.get(standing.held_by.removeprefix(_BY_RULE))
        cause = self._records.get(STANDINGS, standing.cause)
        return (
            rule is not None
            and cause is not None
            and rule.is_source(cause.labels)
            and rule.is_target(standing.labels)
            and rule.place(cause.labels) == rule.place(standing.labels)
            and self._is_notified(cause, {standing.incident_id})
        )

    def _is_notified(self, cause: Standing, under: set[str]) -> bool:
        """Whether people know of the cause or will within moments, itself or as part of another's.

        ``under``: what would be attached to it; causes that wait for each other hold nothing back.
        """
        if cause.ended or cause.incident_id in under:
            return False
        if cause.known:
            return True
        if cause.status is StandingStatus.HELD and cause.cause:
            root = self._records.get(STANDINGS, cause.cause)
            return root is not None and self._is_notified(root, under | {cause.incident_id})
        if cause.status is StandingStatus.HELD:
            return False
        holds = (self._silenced(cause), self._overdue(cause), self._damped_until(cause))
        return all(hold is None for hold in holds) or self._unannounced(cause)

    def _follows(self, effect: str, cause: str) -> bool:
        """Whether ``effect`` was just attached to ``cause``, itself or by way of others."""
        above: str | None = effect
        while above is not None and above != cause:
            above = self._attached.get(above)
        return above is not None

    def _recheck(self, standing: Standing) -> datetime:
        """Check alerts at different times, even if they arrived together."""
        share = zlib.crc32(standing.incident_id.encode()) / 2**32
        return self._now + _RECHECK * (1 + share) / 2

    @cached_property
    def open(self) -> Sequence[Standing]:
        """Every alert that has not ended, oldest first."""
        found = self._records.find(STANDINGS, limit=_MAX_NOTIFICATIONS)
        return [standing for standing in found if not standing.ended]

    @cached_property
    def _silences(self) -> list[tuple[Silence, datetime]]:
        known = [*self._settings.windows, *self._records.find(SILENCES)]
        open_now = [(silence, silence.open_until(self._now)) for silence in known]
        return [(silence, until) for silence, until in open_now if until is not None]

    def effects(self, cause: str) -> list[Standing]:
        """The open alerts that follow from this one."""
        return [changed(s, cause=cause) for s in self._effects.get(cause, ())]

    @cached_property
    def _effects(self) -> dict[str, list[Standing]]:
        """The effects of each cause."""
        found: dict[str, list[Standing]] = {}
        for standing in self.open if self._rules else ():
            why = self._causes.of(standing.incident_id, standing.labels)
            if why is not None:
                found.setdefault(why[1], []).append(standing)
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

    def _of_ended(self, standing: Standing) -> Verdict:
        """Notify of an end only if people were notified of the alert."""
        heard, handled = standing.said is not None, standing.tell == "handled"
        if standing.said == "flapping" and self._flap(standing) is not None:
            return Drop("the series flaps, which ends when it is calm")
        if not heard and not handled and not self._unannounced(standing):
            return Drop("it ended before anybody had heard of it")
        for silence, _ in self._silences:
            if silence.covers(standing.labels) and not (heard and silence.tell_resolved):
                return Drop(f"its end is muted by silence {silence.silence_id}")
        return None if heard or handled else self._announce(standing)

    def _silenced(self, standing: Standing) -> Hold | None:
        ends = [(until, s) for s, until in self._silences if s.covers(standing.labels)]
        if not ends:
            return None
        until, silence = max(ends, key=lambda end: end[0])
        return Hold(f"silence {silence.silence_id}", until)

    def _flapping(self, standing: Standing) -> Hold | Announce | None:
        """Announce flapping once; then notify only of what lasts, or was known before."""
        if self._unannounced(standing) and _damped(standing):
            return self._announce(standing)
        until = self._damped_until(standing)
        return Hold("flapping", until) if until is not None else None

    def _damped_until(self, standing: Standing) -> datetime | None:
        """The time until which flapping holds the alert back, if it does."""
        flap = self._flap(standing)
        if flap is None or not _damped(standing):
            return None
        how = self._settings.flapping
        until = held_until(flap, standing.since, standing.severity, how)
        return until if until > self._now else None

    def _announce(self, standing: Standing) -> Announce:
        self._announcing.add(series_key(standing.series))
        return Announce()

    def _unannounced(self, standing: Standing) -> bool:
        """Whether the series flaps and nobody was notified of that."""
        flap = self._flap(standing)
        return flap is not None and not flap.announced and flap.key not in self._announcing

    def _flap(self, standing: Standing) -> Flap | None:
        if not standing.flapping:
            return None
        return self._records.get(FLAPS, series_key(standing.series))


def _damped(standing: Standing) -> bool:
    """Whether flapping affects it; alerts that people know or must handle are unaffected."""
    return not standing.known and standing.tell != "escalated"
