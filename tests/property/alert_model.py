"""What the life of alerts must look like from outside, computed from inputs and outputs alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.healer.model.notice import Notice, Summary
from services.healer.notify.settings import Alerting
from shared.contracts import AlertChanged
from shared.contracts.alerts import SeriesRef, Severity

KNOWN = frozenset({"predicted", "firing", "escalated"})
ENDS = frozenset({"resolved", "handled"})
_NEAR = 0.01
"""A score so near to that of its calm may count as either."""
_RANK = [Severity.INFO, Severity.WARNING, Severity.CRITICAL]


@dataclass
class Life:
    """One incident as it was published, and what people were notified of it."""

    series: SeriesRef
    opened: datetime
    state: str
    severity: Severity
    handling: str
    crossing_ms: int | None = None
    closed: datetime | None = None
    rises: int = 1
    waits_since: datetime | None = None
    """Since when nothing has excused that people were not notified."""
    ends_since: datetime | None = None
    end_muted: bool = False
    """A silence whose owner wants no ends covered it when it ended."""
    rows: list[tuple[datetime, str]] = field(default_factory=list)

    def has(self, kinds: Iterable[str]) -> bool:
        return any(kind in kinds for _, kind in self.rows)


@dataclass
class Flapping:
    """How one series flaps, by the rule in the documentation."""

    openings: list[datetime] = field(default_factory=list)
    active: bool = False
    announced: int = 0
    unannounced_since: datetime | None = None
    unsure: bool = False
    """It opened again at the very moment of its calm: whether it flaps anew is not asked then."""

    def score(self, now: datetime, half_life_s: float) -> float:
        ages = (max((now - at).total_seconds(), 0.0) for at in self.openings)
        return math.fsum(0.5 ** (age / half_life_s) for age in ages)


class Model:
    """The reference: it is told what goes in and comes out, and finds what must not be."""

    def __init__(self, alerting: Alerting, evidence_wait_s: float) -> None:
        self.how = alerting
        self.lives: dict[str, Life] = {}
        self.flaps: dict[str, Flapping] = {}
        self.slack = timedelta(
            seconds=alerting.group_wait_s + alerting.group_interval_s + evidence_wait_s + 95
        )
        """What may pass before people are notified: waits, one more look, and the clock's noise."""

    # The model's output

    def published(self, change: AlertChanged, now: datetime) -> None:
        life = self.lives.get(change.alert_id)
        if life is None:
            life = self.lives[change.alert_id] = Life(
                change.series, now, change.state, change.severity, change.handling
            )
            self._opened(life, now)
        if change.state == "resolved":
            assert life.closed is None, "it ends once"
            life.closed = now
            life.ends_since = now
            if ": from " in change.outcome:
                self._not_counted(life)
        else:
            fires = change.state == "firing" and life.state != "firing"
            worse = _RANK.index(change.severity) > _RANK.index(life.severity)
            life.rises += fires or worse
            life.state, life.severity = change.state, change.severity
        life.handling, life.crossing_ms = change.handling, change.crossing_ms

    def _opened(self, life: Life, now: datetime) -> None:
        flap = self.flaps.setdefault(life.series.text(), Flapping())
        flap.openings = [*flap.openings, now][-21:]
        how = self.how.flapping
        self._calm(flap, now)
        if not flap.active and flap.score(now, how.half_life_s) >= how.start:
            flap.active, flap.announced = True, 0
        # Calls for a person after a remediation are never damped, so they announce nothing.
        wanted = flap.active and not flap.announced and not flap.unsure
        if wanted and not life.series.item.startswith("df."):
            flap.unannounced_since = now

    def _not_counted(self, life: Life) -> None:
        flap = self.flaps[life.series.text()]
        flap.openings = [at for at in flap.openings if at != life.opened]

    def _calm(self, flap: Flapping, now: datetime) -> None:
        how = self.how.flapping
        before = [at for at in flap.openings if at < now] or flap.openings
        score = sum(0.5 ** ((now - at).total_seconds() / how.half_life_s) for at in before)
        if flap.active and score <= how.stop + _NEAR:
            flap.active, flap.unannounced_since, flap.unsure = False, None, True
        if score < how.stop - _NEAR:
            flap.unsure = False

    def notified(self, told: Notice | Summary, now: datetime) -> None:
        for row in told.lines():
            if row.cause:
                # Named under its cause, it is not notified itself: when the cause ends it will be.
                continue
            life = self.lives[row.incident_id]
            if row.kind == "predicted":
                crossing = life.crossing_ms
                assert crossing is not None
                assert crossing > now.timestamp() * 1000, "a prediction of the past says nothing"
            if row.kind == "flapping":
                flap = self.flaps[life.series.text()]
                flap.announced += 1
                flap.unannounced_since = None
                assert flap.announced == 1 or flap.unsure, "flapping is announced once"
            self._ends_what_was_heard(life, row.kind)
            life.rows.append((now, row.kind))
            said = Counter(kind for _, kind in life.rows)
            assert said[row.kind] <= life.rises, f"{row.kind} is notified once a change: {life}"

    def _ends_what_was_heard(self, life: Life, kind: str) -> None:
        if kind != "resolved":
            return
        heard = life.has(KNOWN | {"flapping"}) or any(
            other.series == life.series and other.has({"flapping"}) for other in self.lives.values()
        )
        assert heard, "the end of what nobody heard of is not notified"

    # Invariants, checked at every moment

    def check(
        self,
        now: datetime,
        *,
        silenced: Callable[[SeriesRef, Severity], bool],
        ends_muted: Callable[[SeriesRef, Severity], bool],
        storm: bool,
        cause: Callable[[SeriesRef], SeriesRef | None],
        working: Container[str],
    ) -> None:
        for flap in self.flaps.values():
            self._calm(flap, now)
        for number, life in self.lives.items():
            if life.closed is None:
                excused = (
                    storm
                    or silenced(life.series, life.severity)
                    or self._attached(life, cause)
                    or self._damped(life, now)
                    or (life.state == "predicted" and self._is_past(life, now))
                    or life.handling == "none"
                    or number in working
                )
                self._is_known(life, now, excused=excused)
            elif life.has(KNOWN) and not life.has(ENDS):
                if storm:
                    life.ends_since = now
                if ends_muted(life.series, life.severity):
                    life.end_muted = True
                assert life.end_muted or now - (life.ends_since or now) <= self.slack, (
                    f"the end of what was notified is notified: {life}"
                )
            held = silenced(life.series, life.severity) or self._attached(life, cause)
            self._is_announced(life, now, storm or held)

    def _is_known(self, life: Life, now: datetime, *, excused: bool) -> None:
        wanted = {"firing", "escalated"} if life.state == "firing" else KNOWN
        if excused or life.has(wanted):
            life.waits_since = None
            return
        life.waits_since = life.waits_since or now
        assert now - life.waits_since <= self.slack, f"an open alert is held in silence: {life}"

    def _attached(self, life: Life, cause: Callable[[SeriesRef], SeriesRef | None]) -> bool:
        source = cause(life.series)
        return source is not None and any(
            other.series == source
            and other.closed is None
            and (other.has(KNOWN | {"flapping"}) or other.waits_since is not None)
            for other in self.lives.values()
        )

    def _damped(self, life: Life, now: datetime) -> bool:
        flap = self.flaps[life.series.text()]
        how = self.how.flapping
        critical = life.severity is Severity.CRITICAL
        most = how.max_hold_critical_s if critical else how.max_hold_s
        held = (now - life.opened).total_seconds() <= most
        return flap.active and flap.announced > 0 and held

    @staticmethod
    def _is_past(life: Life, now: datetime) -> bool:
        return life.crossing_ms is not None and life.crossing_ms <= now.timestamp() * 1000

    def _is_announced(self, life: Life, now: datetime, excused: bool) -> None:
        flap = self.flaps[life.series.text()]
        if flap.unannounced_since is None:
            return
        if excused:
            flap.unannounced_since = None
            return
        assert now - flap.unannounced_since <= self.slack, (
            f"flapping is announced, whatever ends in between: {life}"
        )
