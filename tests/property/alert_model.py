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
    acknowledged: str = ""
    called: datetime | None = None
    """When people were last notified of it as critical by a notice of its group, unanswered yet."""
    paged: bool = False
    """True if the next ones were called since it was last acknowledged."""
    reminded: datetime | None = None
    """When nobody but those who heard of it was left to call, or they were last reminded."""
    stepped: bool = False
    """The clock was set since: how long ago they were is not asked."""
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
    stepped: datetime | None = None
    """When the clock was set, while what opened before that counts in either reckoning."""
    score_then: float = 0.0
    """The score at that moment by the clock before it, beyond what opened since."""
    unsure: bool = False
    """It opened again at the very moment of its calm: whether it flaps anew is not asked then."""

    def score(self, now: datetime, half_life_s: float, since: datetime | None = None) -> float:
        """By the openings, or by those since a moment."""
        counted = (at for at in self.openings if since is None or at >= since)
        ages = (max((now - at).total_seconds(), 0.0) for at in counted)
        return math.fsum(0.5 ** (age / half_life_s) for age in ages)

    def most(self, now: datetime, half_life_s: float) -> float:
        """The score if what opened before the clock was set is not older by that."""
        if self.stepped is None:
            return self.score(now, half_life_s)
        age = max((now - self.stepped).total_seconds(), 0.0) / half_life_s
        return self.score(now, half_life_s, self.stepped) + self.score_then * 0.5**age


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
            # A remediation that can be approved anew is asked for anew, and expires anew.
            fires |= change.handling == "approve" and life.handling != "approve"
            worse = _RANK.index(change.severity) > _RANK.index(life.severity)
            life.rises += fires or worse
            assert not (worse and change.acknowledged_by), "nobody has acknowledged it as so severe"
            life.state, life.severity = change.state, change.severity
        if life.acknowledged and not change.acknowledged_by:
            life.paged = False
        life.acknowledged = change.acknowledged_by
        life.handling, life.crossing_ms = change.handling, change.crossing_ms

    def _opened(self, life: Life, now: datetime) -> None:
        flap = self.flaps.setdefault(life.series.text(), Flapping())
        flap.openings = [*flap.openings, now][-21:]
        how = self.how.flapping
        self._calm(flap, now)
        if not flap.active and flap.score(now, how.half_life_s) >= how.start:
            flap.active = True
            if flap.stepped is None:  # otherwise it may have flapped on since it was announced
                flap.announced = 0
        # What opened before the clock was set may count as older: then it flaps by what came since.
        sure = flap.stepped is None or flap.score(now, how.half_life_s, flap.stepped) >= how.start
        # Calls for a person after a remediation are never damped, so they announce nothing.
        wanted = flap.active and sure and not (flap.announced or flap.unsure)
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
        if flap.stepped is not None and flap.most(now, how.half_life_s) < how.stop - _NEAR:
            flap.stepped = None
            if not flap.active:
                flap.announced = 0

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
                once = flap.announced == 1 or flap.unsure or flap.stepped is not None
                assert once, "flapping is announced once"
            self._ends_what_was_heard(life, row.kind)
            self._reminds(life, row.kind, now, grouped=isinstance(told, Notice))
            self._calls(life, row.kind, now, grouped=isinstance(told, Notice))
            life.rows.append((now, row.kind))
            said = Counter(kind for _, kind in life.rows if kind != "unanswered")
            # What is notified while its series flaps ends, and later the flapping does.
            calms = row.kind == "resolved" and self.flaps[life.series.text()].announced > 0
            most = life.rises + calms
            assert said[row.kind] <= most, f"{row.kind} is notified once a change: {life}"

    def _calls(self, life: Life, kind: str, now: datetime, *, grouped: bool) -> None:
        if kind == "unanswered":
            assert not life.acknowledged, "nobody else is called about what is acknowledged"
            life.called, life.paged = None, True
        elif grouped and kind in KNOWN and life.severity is Severity.CRITICAL:
            life.called = now

    def _reminds(self, life: Life, kind: str, now: datetime, *, grouped: bool) -> None:
        """After the last step of escalation the same people are reminded, now and then."""
        if kind == "unanswered" and life.paged and not life.stepped:
            pause = timedelta(seconds=self.how.repeat_interval_s)
            assert now - life.rows[-1][0] >= pause, f"people are reminded too early: {life}"
        if kind == "unanswered":
            life.reminded, life.stepped = now, False
        elif kind in KNOWN:
            life.reminded = now if grouped and life.paged else None

    def _is_reminded(self, life: Life, now: datetime, *, excused: bool) -> None:
        grave = life.state == "firing" and life.severity is Severity.CRITICAL
        if life.acknowledged or not (life.paged and grave) or life.called is not None:
            life.reminded = None
        elif excused and life.reminded is not None:
            life.reminded = now
        elif life.reminded is not None:
            wait = timedelta(seconds=self.how.repeat_interval_s) + self.slack
            assert now - life.reminded <= wait, f"nobody was reminded of it: {life}"

    def _is_escalated(self, life: Life, now: datetime, *, excused: bool) -> None:
        """What nobody answers calls the next ones."""
        critical = life.severity is Severity.CRITICAL
        if life.acknowledged or life.paged or not critical or not self.how.escalation:
            life.called = None
        elif excused and life.called is not None:
            life.called = now
        elif life.called is not None:
            wait = timedelta(seconds=self.how.escalation[0].after_s) + self.slack
            assert now - life.called <= wait, f"nobody was called about it: {life}"

    def clock_set(self, before: datetime, now: datetime) -> None:
        """Moments move with the clock: of a step forward those of what is open, of one back those
        that would lie in the future.
        """

        def moved(moment: datetime | None, *, opened: bool = True) -> datetime | None:
            if moment is None:
                return None
            forward = now > before
            return moment + (now - before) if (opened if forward else moment > now) else moment

        for flap in self.flaps.values():
            flap.score_then = flap.most(before, self.how.flapping.half_life_s)
            flap.stepped = now
        for life in self.lives.values():
            is_open = life.closed is None
            opened = moved(life.opened, opened=is_open) or life.opened
            flap = self.flaps[life.series.text()]
            flap.openings = [opened if at == life.opened else at for at in flap.openings]
            life.opened = opened
            life.waits_since, life.called = moved(life.waits_since), moved(life.called)
            life.reminded, life.stepped = moved(life.reminded), True
            life.ends_since = moved(life.ends_since)
        for flap in self.flaps.values():
            # A step forward may end it before anybody hears of it.
            flap.unannounced_since = None

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
                past = life.state == "predicted" and self._is_past(life, now)
                excused = (
                    storm
                    or silenced(life.series, life.severity)
                    or self._attached(life, cause)
                    or self._damped(life, now)
                    or past
                    or life.handling == "none"
                    or number in working
                )
                self._is_known(life, now, excused=excused)
                quiet = storm or silenced(life.series, life.severity) or number in working or past
                self._is_escalated(life, now, excused=quiet)
                attached = self._attached(life, cause)
                self._is_reminded(life, now, excused=quiet or attached)
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
        return (flap.active or flap.stepped is not None) and flap.announced > 0 and held

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
