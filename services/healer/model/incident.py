"""The healer's records of incidents, commands on their way, ends that overtook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model import decision_log
from services.healer.model.commands import ENDED
from services.healer.model.narrative import Fact, Narrative, extended
from services.healer.model.notice import SignalWord
from services.healer.model.notification import Flaps, series_key
from services.healer.model.policy import worst
from services.healer.model.signal import Sight, Signal
from services.healer.model.transitions import PHASES, Phase, checked
from shared.contracts import (
    AlarmPredicted,
    AnomalyCleared,
    AnomalyDetected,
    EvidenceCollected,
    Message,
    PredictionWithdrawn,
)
from shared.contracts.alerts import AlertState, Point, SeriesRef, Severity
from shared.contracts.remediation import RemediationStep
from shared.store import Collection, Records

Handling = Literal["none", "mail", "approve", "automatic"]
Missing = Literal["evidence", "plan"]
News = Literal["predicted", "firing", "handled", "escalated", "resolved"]
"""The news of a change of an incident of which people are notified."""


REMEDYING = (Phase.ACTING, Phase.SETTLING, Phase.READING, Phase.UNDOING)
_OPEN = [phase for phase in Phase if phase is not Phase.CLOSED]


class Incident(BaseModel):
    """All that is wrong with one series from its first signal to the end of its last."""

    model_config = ConfigDict(frozen=True)

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
    foreseen: Sight | None = None
    """The observation of its last prediction; shown again when its alarm ends before that."""
    acted_on: Sight | None = None
    """The observation when the last remediation began: cleaning itself may be a signal since."""
    signals: dict[str, Signal]
    ended: dict[str, int] = {}
    """Ended signals: event id to the time (Unix ms) up to which they count as dealt with."""
    sequence: int = 0
    """Alert changes published."""
    traceparent: str = ""
    """The trace context of the signal that opened it."""
    handling: Handling = "none"
    phase: Phase = Phase.WAITING
    due: AwareDatetime | None = None
    command_id: str = ""
    """The command whose answer is awaited."""
    remediation: str = ""
    action_id: str = ""
    """The action planned or begun last."""
    plan: tuple[RemediationStep, ...] = ()
    """The plan of the remediation, by its dry run."""
    missing: tuple[Missing, ...] = ()
    """The answers for which the notice in preparation waits."""
    attempts: int = 0
    actions: tuple[str, ...] = ()
    tell: News = "firing"
    """The news of the notice in preparation."""
    mails: int = 0
    """How often people were to be notified."""
    evidence: EvidenceCollected | None = None
    """The evidence of the cause that the machine sent last."""
    after: Point | None = None
    """The value as it was read after the last remediation."""
    acknowledged_by: str = ""
    flapping: Flaps = ""
    left_at: float | None = None
    """The value that the message of its end carried."""
    narrative: Narrative = ()
    """Its story; what people were notified of, and what not, is in the standing's history."""

    @property
    def signal(self) -> SignalWord:
        """The kind of its signal, in the word that is used for it everywhere."""
        if self.state is AlertState.PREDICTED:
            return "prediction"
        return "anomaly" if self.sight.strange else "alarm"

    def with_signal(self, signal: Signal, sight: Sight) -> Incident:
        """A new or repeated signal; the sight of a firing one is not hidden by a prediction."""
        signals = {k: s for k, s in self.signals.items() if s.until is None}
        changed = self.with_signals(signals | {signal.event_id: signal})
        if signal.state is AlertState.PREDICTED:
            changed = changed.foreseeing(sight)
        return changed.seen(sight) if signal.state is changed.state else changed

    def foreseeing(self, sight: Sight) -> Incident:
        """Keep the prediction's observation, for when nothing but the prediction is left."""
        return self._with(foreseen=sight)

    def with_signals(self, signals: dict[str, Signal]) -> Incident:
        """These are what is wrong now; with none, state and severity stay as they were."""
        if not signals:
            return self._with(signals={})
        firing = any(s.state is AlertState.FIRING for s in signals.values())
        falls_back = not firing and self.state is AlertState.FIRING and self.foreseen is not None
        return self._with(
            signals=signals,
            state=AlertState.FIRING if firing else AlertState.PREDICTED,
            severity=worst([s.severity for s in signals.values()]),
            sight=self.foreseen if falls_back else self.sight,
        )

    def dealt_with(self, events: Mapping[str, int]) -> Incident:
        """These events have ended, and count as dealt with up to these times (Unix ms)."""
        return self._with(ended=self.ended | dict(events))

    def seen(self, sight: Sight) -> Incident:
        """The curve as it is now."""
        return self._with(sight=sight)

    def tells(self, *facts: Fact) -> Incident:
        """Its story goes on; every fact is in the log, too."""
        decision_log.write(self.incident_id, self.series, self.traceparent, *facts)
        return self._with(narrative=extended(self.narrative, *facts))

    def left(self, value: float | None) -> Incident:
        """The value with which it ends, if that is known."""
        return self._with(left_at=value)

    def noted(self, *words: str, after: Point | None = None) -> Incident:
        """With more sentences of what was done, and the value as it was read after that."""
        return self._with(actions=(*self.actions, *words), after=after or self.after)

    def published(self) -> Incident:
        """One more change that subscribers are sent."""
        return self._with(sequence=self.sequence + 1)

    def flapping_as(self, flapping: Flaps) -> Incident:
        """Keep how its series flaps, for the opening of its notice."""
        return self._with(flapping=flapping)

    def acknowledged(self, by: str) -> Incident:
        """Somebody takes care of it."""
        return self._with(acknowledged_by=by).noted(f"Taken by {by}.")

    def handled_by(self, handling: Handling) -> Incident:
        """Who handles it from now on."""
        return self._with(handling=handling)

    def telling(self, tell: News) -> Incident:
        """Set the news of the notice in preparation."""
        return self._with(tell=tell)

    def notified(self, evidence: EvidenceCollected | None) -> Incident:
        """People are to be notified once more, with this evidence."""
        return self._with(mails=self.mails + 1, evidence=evidence or self.evidence)

    def proposing(self, action_id: str, remediation: str, handling: Handling) -> Incident:
        """An action is proposed; its plan was asked for."""
        return self._with(action_id=action_id, remediation=remediation, plan=(), handling=handling)

    def planned(self, steps: tuple[RemediationStep, ...]) -> Incident:
        """The plan that was asked for came."""
        return self._with(plan=steps).complete("plan")

    def with_evidence(self, found: EvidenceCollected) -> Incident:
        """The evidence that was asked for came."""
        return self._with(evidence=found).complete("evidence")

    def complete(self, *parts: Missing) -> Incident:
        """The notice in preparation waits for these parts no longer."""
        return self._with(missing=tuple(each for each in self.missing if each not in parts))

    def trying(self) -> Incident:
        """One more remediation is tried."""
        return self._with(attempts=self.attempts + 1)

    def awaiting(self, command_id: str, until: datetime, missing: tuple[Missing, ...]) -> Incident:
        """The machine was asked for these parts of a notice."""
        return self._to(Phase.EVIDENCE, until, command_id, missing=missing)

    def acting(
        self, action_id: str, remediation: str, command_id: str, until: datetime
    ) -> Incident:
        """A remediation was ordered."""
        return self._to(
            Phase.ACTING,
            until,
            command_id,
            handling="automatic",
            remediation=remediation,
            action_id=action_id,
            acted_on=self.sight,
            missing=(),
        )

    def settling(self, until: datetime) -> Incident:
        """The remediation was carried out, and shows its effect by then."""
        return self._to(Phase.SETTLING, until)

    def reading(self, command_id: str, until: datetime) -> Incident:
        """The item's value was asked for."""
        return self._to(Phase.READING, until, command_id)

    def undoing(self, command_id: str, until: datetime) -> Incident:
        """The remediation is to be taken back."""
        return self._to(Phase.UNDOING, until, command_id)

    def resting(self) -> Incident:
        """Nothing is to be done until a signal comes, ends, or its time is up."""
        times = [s.ends for s in self.signals.values() if s.ends is not None]
        return self._to(Phase.WAITING, min(times, default=None))

    def closed(self, now: datetime, forget: datetime, *, handled: bool, until_ms: int) -> Incident:
        """It is over; signals still open count as dealt with up to ``until_ms``."""
        return self._to(
            Phase.CLOSED,
            forget,
            state=AlertState.RESOLVED,
            ended=self.ended | dict.fromkeys(self.signals, until_ms),
            signals={},
            closed_at=now,
            handled=handled,
        )

    def _to(
        self, phase: Phase, due: datetime | None, command_id: str = "", **changes: object
    ) -> Incident:
        after = checked(PHASES, self.incident_id, self.phase, phase)
        return self._with(phase=after, due=due, command_id=command_id, **changes)

    def _with(self, **changes: object) -> Incident:
        """The only place where fields are named by strings: the methods above have types."""
        return self.model_copy(update=changes)


INCIDENTS = Collection(
    "incidents",
    Incident,
    key=lambda i: i.incident_id,
    group=lambda i: series_key(i.series),
    status=lambda i: i.phase,
    due=lambda i: i.due,
)
OVERTAKEN_FOR = timedelta(days=1)
"""How long an end is remembered whose beginning has not come."""
_LOOK_BACK = 20
_SIGNALS = (AnomalyDetected, AnomalyCleared, AlarmPredicted, PredictionWithdrawn)


def read_ahead(messages: Sequence[Message], records: Records) -> None:
    """Read ahead what a batch of signals will ask for: two statements instead of two for each."""
    signals = [message for message in messages if isinstance(message, _SIGNALS)]
    groups = {series_key(signal.series) for signal in signals}
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
