"""What the healer remembers: incidents, commands on their way, ends that overtook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.notification import Flaps, series_key
from services.healer.model.policy import worst
from shared.contracts import (
    AlarmPredicted,
    AnomalyCleared,
    AnomalyDetected,
    EvidenceCollected,
    Message,
    PredictionWithdrawn,
)
from shared.contracts.alerts import (
    AlertState,
    BandPoint,
    Direction,
    Point,
    RemediationStep,
    SeriesRef,
    Severity,
)
from shared.store import Collection, Records

Handling = Literal["none", "mail", "approve", "automatic"]
Told = Literal["predicted", "firing", "handled", "escalated", "resolved"]
"""What a change of an incident makes people be told."""


class Phase(StrEnum):
    """Where the handling of an incident stands."""

    EVIDENCE = "evidence"
    """The machine was asked for the cause; a mail follows, with it or without."""
    ACTING = "acting"
    """The machine was told to carry out a remediation."""
    SETTLING = "settling"
    """It did; soon the item is read again."""
    UNDOING = "undoing"
    """It did not help; the machine was told to take it back."""
    READING = "reading"
    """The machine was asked for the item's value."""
    WAITING = "waiting"
    """Nothing more to do until the alarm ends or grows worse."""
    CLOSED = "closed"


REMEDYING = (Phase.ACTING, Phase.SETTLING, Phase.READING, Phase.UNDOING)
_OPEN = [phase for phase in Phase if phase is not Phase.CLOSED]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Signal(_Record):
    """Something that is wrong now, by its event's id."""

    event_id: str
    state: AlertState
    severity: Severity
    revision: int = 1
    time_ms: int
    until: AwareDatetime | None = None
    """It is over as far as its source knows; unless another comes, the clock ends it then."""
    expires: AwareDatetime | None = None
    """Set where the source repeats what still holds: not repeated, it ends then."""
    ending: str = ""
    """How it ended, in words, when the clock ends it."""

    @property
    def ends(self) -> datetime | None:
        """When the clock ends it."""
        times = [moment for moment in (self.until, self.expires) if moment is not None]
        return min(times, default=None)


class Sight(_Record):
    """The curve as it was last told."""

    value: float
    threshold: float | None
    above: bool = True
    direction: Direction | None = None
    """Which way an anomaly left its range."""
    sentence: str
    crossing_ms: int | None = None
    earliest_ms: int | None = None
    latest_ms: int | None = None
    predicted_value: float | None = None
    probability: float | None = None
    """Of a predicted alarm; None: not known."""
    recent: tuple[Point, ...] = ()
    band: tuple[BandPoint, ...] = ()


class Incident(_Record):
    """All that is wrong with one series from its first signal to the end of its last."""

    incident_id: str
    series: SeriesRef
    family: str
    opened_at: AwareDatetime
    closed_at: AwareDatetime | None = None
    handled: bool = False
    """Whether it ended because a remediation was verified."""
    state: AlertState
    severity: Severity
    sight: Sight
    acted_on: Sight | None = None
    """What was seen when the last remediation began: the cleaning itself may be a signal since."""
    signals: dict[str, Signal]
    ended: dict[str, int] = {}
    """Ended signals: event id to the time (Unix ms) up to which they count as dealt with."""
    sequence: int = 0
    """Alert changes published."""
    handling: Handling = "none"
    phase: Phase = Phase.WAITING
    due: AwareDatetime | None = None
    command_id: str = ""
    """The command whose answer is awaited."""
    remediation: str = ""
    action_id: str = ""
    """The action planned or begun last."""
    plan: tuple[RemediationStep, ...] = ()
    """What it would do, by its dry run."""
    missing: tuple[Literal["evidence", "plan"], ...] = ()
    """What the notice in preparation waits for."""
    attempts: int = 0
    actions: tuple[str, ...] = ()
    tell: Told = "firing"
    """What the notice in preparation says."""
    mails: int = 0
    """How often people were to be told."""
    evidence: EvidenceCollected | None = None
    """What the machine last said of the cause."""
    after: Point | None = None
    """The value as it was read after the last remediation."""
    acknowledged_by: str = ""
    flapping: Flaps = ""

    def with_signal(self, signal: Signal, sight: Sight) -> Incident:
        """A new or repeated signal; the sight of a firing one is not hidden by a prediction."""
        signals = {k: s for k, s in self.signals.items() if s.until is None}
        changed = self.with_signals(signals | {signal.event_id: signal})
        shown = signal.state is changed.state
        return changed.model_copy(update={"sight": sight} if shown else {})

    def noted(self, words: str) -> Incident:
        """With one more sentence of what was done."""
        return self.model_copy(update={"actions": (*self.actions, words)})

    def with_signals(self, signals: dict[str, Signal]) -> Incident:
        """These are what is wrong now; with none, state and severity stay as they were."""
        if not signals:
            return self.model_copy(update={"signals": {}})
        firing = any(s.state is AlertState.FIRING for s in signals.values())
        return self.model_copy(
            update={
                "signals": signals,
                "state": AlertState.FIRING if firing else AlertState.PREDICTED,
                "severity": worst([s.severity for s in signals.values()]),
            }
        )


class Command(_Record):
    """Which incident an answer belongs to."""

    command_id: str
    incident_id: str
    due: AwareDatetime


class Run(_Record):
    """A remediation that was ordered; kept for cooldown and budget."""

    command_id: str
    host: str
    series: str
    at: AwareDatetime
    due: AwareDatetime


class Ended(_Record):
    """An event's end; its beginning may still be on the way."""

    event_id: str
    due: AwareDatetime


class Healing(_Record):
    """When a series' value was last brought down by what somebody did about it."""

    key: str
    """The series', see ``series_key``."""
    time_ms: int
    due: AwareDatetime


HEALINGS = Collection("healings", Healing, key=lambda h: h.key, due=lambda h: h.due)
INCIDENTS = Collection(
    "incidents",
    Incident,
    key=lambda i: i.incident_id,
    group=lambda i: series_key(i.series),
    status=lambda i: i.phase,
    due=lambda i: i.due,
)
COMMANDS = Collection("commands", Command, key=lambda c: c.command_id, due=lambda c: c.due)
RUNS = Collection(
    "runs", Run, key=lambda r: r.command_id, group=lambda r: r.host, due=lambda r: r.due
)
ENDED = Collection("ended", Ended, key=lambda e: e.event_id, due=lambda e: e.due)

OVERTAKEN_FOR = timedelta(days=1)
"""How long an end is remembered whose beginning has not come."""
_LOOK_BACK = 20
_SIGNALS = (AnomalyDetected, AnomalyCleared, AlarmPredicted, PredictionWithdrawn)


def read_ahead(messages: Sequence[Message], records: Records) -> None:
    """What a batch of signals will ask for, in two statements instead of two for each."""
    signals = [message for message in messages if isinstance(message, _SIGNALS)]
    groups = [series_key(signal.series) for signal in signals]
    records.read_ahead(INCIDENTS, groups=groups, newest=_LOOK_BACK)
    records.read_ahead(ENDED, keys=[signal.event_id for signal in signals])


def incidents_of(records: Records, series: SeriesRef) -> list[Incident]:
    """The last incidents of a series, newest first."""
    key = series_key(series)
    return records.find(INCIDENTS, group=key, limit=_LOOK_BACK, newest_first=True)


def open_among(incidents: Iterable[Incident]) -> Incident | None:
    """The one that has not ended."""
    return next((i for i in incidents if i.phase is not Phase.CLOSED), None)


def open_incident(records: Records, series: SeriesRef) -> Incident | None:
    """The one incident of this series that has not ended."""
    key = series_key(series)
    found = records.find(INCIDENTS, group=key, status=_OPEN, limit=1, newest_first=True)
    return found[0] if found else None


def dealt_with(records: Records, past: Iterable[Incident], signal: Signal) -> bool:
    """Whether the signal ended before, so that this is a late repetition."""
    if any(i.ended.get(signal.event_id, -1) >= signal.time_ms for i in past):
        return True
    return records.get(ENDED, signal.event_id) is not None
