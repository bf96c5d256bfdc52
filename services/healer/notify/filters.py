"""Why an alert is not told now: a silence, a cause that is told instead, or flapping."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from services.healer.model.incident import incidents_of
from services.healer.model.notification import STANDINGS, Standing
from services.healer.notify.flapping import calm_at
from services.healer.notify.inhibition import INHIBITIONS, Causes, Inhibition
from services.healer.notify.settings import Alerting
from services.healer.notify.silences import SILENCES, Silence
from shared.store import Records

_RECHECK = timedelta(seconds=60)
"""Within this time what a cause held back is looked at again."""
_BY_RULE = "inhibited by "
_MOST = 50_000


@dataclass(frozen=True)
class Hold:
    """It is held back until then, and looked at again."""

    by: str
    until: datetime
    cause: str = ""


@dataclass(frozen=True)
class Drop:
    """There is nothing to tell any more."""


class Filters:
    """What holds alerts back at one moment."""

    def __init__(self, settings: Alerting, records: Records, now: datetime) -> None:
        self._settings = settings
        self._records = records
        self._now = now

    def verdict(self, standing: Standing) -> Hold | Drop | None:
        """None: tell it."""
        if standing.ended:
            return self._of_ended(standing)
        if (hold := self._silenced(standing)) is not None:
            return hold
        if self._still_attached(standing):
            return Hold(standing.held_by, self._recheck(standing), standing.cause)
        if (found := self._causes.of(standing.incident_id, standing.labels)) is not None:
            rule, cause = found
            return Hold(_BY_RULE + rule, self._recheck(standing), cause)
        return self._flapping(standing)

    def _still_attached(self, standing: Standing) -> bool:
        """Whether the cause it was attached to holds it still: two look-ups, no walk over all."""
        if standing.status != "held" or not standing.cause:
            return False
        rule = self._by_name.get(standing.held_by.removeprefix(_BY_RULE))
        cause = self._records.get(STANDINGS, standing.cause)
        return (
            rule is not None
            and cause is not None
            and not cause.ended
            and rule.is_source(cause.labels)
            and rule.is_target(standing.labels)
            and rule.place(cause.labels) == rule.place(standing.labels)
        )

    def _recheck(self, standing: Standing) -> datetime:
        """Each at its own moment: what came at once need not be looked at again at once."""
        share = zlib.crc32(standing.incident_id.encode()) / 2**32
        return self._now + _RECHECK * (1 + share) / 2

    @cached_property
    def open(self) -> Sequence[Standing]:
        """Every alert that has not ended, oldest first."""
        found = self._records.find(STANDINGS, limit=_MOST)
        return [standing for standing in found if not standing.ended]

    @cached_property
    def _silences(self) -> list[tuple[Silence, datetime]]:
        known = [*self._settings.windows, *self._records.find(SILENCES)]
        open_now = [(silence, silence.open_until(self._now)) for silence in known]
        return [(silence, until) for silence, until in open_now if until is not None]

    def effects(self, cause: str) -> list[Standing]:
        """The open alerts that follow from this one."""
        return [s.model_copy(update={"cause": cause}) for s in self._effects.get(cause, ())]

    @cached_property
    def _effects(self) -> dict[str, list[Standing]]:
        """What follows from each cause."""
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
        alerts = [(s.incident_id, s.labels) for s in self.open] if self._rules else []
        return Causes(self._rules, alerts)

    def _of_ended(self, standing: Standing) -> Hold | Drop | None:
        """The end of what people know is told; of what they never heard, it is not."""
        known = standing.said is not None or standing.flapping == "goes on"
        for silence, _ in self._silences:
            if silence.covers(standing.labels) and not (known and silence.tell_resolved):
                return Drop()
        if not known and standing.held_by:
            return Drop()
        hold = self._flapping(standing)
        if hold is None and standing.flapping:
            newest = incidents_of(self._records, standing.series)[:1]
            if newest and newest[0].incident_id != standing.incident_id:
                return Drop()  # a later one tells how it goes on
        return hold

    def _silenced(self, standing: Standing) -> Hold | None:
        ends = [(until, s) for s, until in self._silences if s.covers(standing.labels)]
        if not ends:
            return None
        until, silence = max(ends, key=lambda end: end[0])
        return Hold(f"silence {silence.silence_id}", until)

    def _flapping(self, standing: Standing) -> Hold | None:
        if not standing.flapping or (standing.flapping == "begins" and standing.said is None):
            return None
        openings = [i.opened_at for i in incidents_of(self._records, standing.series)]
        until = calm_at(openings, self._now, self._settings.flapping)
        return Hold("flapping", until) if until > self._now else None
