"""The healer's records of incidents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field

from services.healer.model import decision_log
from services.healer.model.narrative import Decided, Fact, Narrative, extended
from services.healer.model.notice import SignalWord
from services.healer.model.notification import Flaps, series_key
from services.healer.model.policy import RANK, worst
from services.healer.model.signal import Observation, Signal
from services.healer.model.transitions import PHASES, Phase, checked
from shared.changes import changed
from shared.contracts import (
    EvidenceCollected,
)
from shared.contracts.alerts import AlertState, Point, SeriesRef, Severity
from shared.contracts.remediation import RemediationStep
from shared.store import Collection

Handling = Literal["none", "mail", "approve", "automatic"]
Missing = Literal["evidence", "plan"]
News = Literal["predicted", "firing", "handled", "escalated", "resolved"]
"""The kinds of change of an incident that people are notified of."""


REMEDYING = (Phase.ACTING, Phase.SETTLING, Phase.READING, Phase.UNDOING)


class Incident(BaseModel):
    """Everything that is wrong with one series, from its first signal to the end of its last."""

    model_config = ConfigDict(frozen=True)

    incident_id: str
    series: SeriesRef
    family: str
    opened_at: AwareDatetime
    closed_at: AwareDatetime | None = None
    handled: bool = False
    """True if it ended because a remediation was verified."""
    state: AlertState
    severity: Severity
    observation: Observation = Field(validation_alias=AliasChoices("observation", "sight"))
    shown: str = ""
    """The event of which ``observation`` is the observation."""
    others: dict[str, Observation] = {}
    """The observations of its other signals, used when the worst signal ends before them."""
    acted_on: Observation | None = None
    """The observation at the last remediation's start, whose effect may cause a signal."""
    signals: dict[str, Signal]
    ended: dict[str, int] = {}
    """Ended signals: event id to the time (Unix ms) up to which they count as handled."""
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
    """The latest planned or started action."""
    plan: tuple[RemediationStep, ...] = ()
    """The plan of the remediation, by its dry run."""
    missing: tuple[Missing, ...] = ()
    """The answers that the notification in preparation waits for."""
    attempts: int = 0
    actions: tuple[str, ...] = ()
    tell: News = "firing"
    """The kind of the notification in preparation."""
    mails: int = 0
    """The number of requested notifications."""
    evidence: EvidenceCollected | None = None
    """The latest evidence from the machine."""
    after: Point | None = None
    """The value that was read after the last remediation."""
    acknowledged_by: str = ""
    flapping: Flaps = ""
    left_at: float | None = None
    """The value in the message of its end."""
    gone_since: AwareDatetime | None = None
    """The time of the last sample, if it ended because its series ended."""
    narrative: Narrative = ()
    """The facts of its narrative; those about notifications are in the notification state."""

    @property
    def signal(self) -> SignalWord:
        """The kind of its signal: prediction, alarm or anomaly."""
        if self.state is AlertState.PREDICTED:
            return "prediction"
        return "anomaly" if self.observation.strange else "alarm"

    def with_signal(self, signal: Signal, observation: Observation) -> Incident:
        """Add a new or repeated signal; its observation does not hide that of a worse one."""
        signals = {k: s for k, s in self.signals.items() if s.until is None}
        return self.with_signals(
            signals | {signal.event_id: signal}, {signal.event_id: observation}
        )

    def with_signals(
        self, signals: dict[str, Signal], seen: Mapping[str, Observation] | None = None
    ) -> Incident:
        """Replace the signals; without any, state, severity and observation stay as they are.

        ``seen``: the newest observations of some of them. The observation of the worst signal is
        shown.
        """
        if not signals:
            return self._with(signals={})
        known = self.others | {self.shown: self.observation} | dict(seen or {})
        observations = {key: known[key] for key in signals if key in known}
        shown = max(
            reversed(observations),
            key=lambda key: _weight(signals[key], observations[key]),
            default=self.shown,
        )
        firing = any(s.state is AlertState.FIRING for s in signals.values())
        return self._with(
            signals=signals,
            state=AlertState.FIRING if firing else AlertState.PREDICTED,
            severity=worst([s.severity for s in signals.values()]),
            observation=observations.pop(shown, self.observation),
            shown=shown,
            others=observations,
        )

    def dealt_with(self, events: Mapping[str, int]) -> Incident:
        """Mark events as ended and handled up to these times (Unix ms)."""
        return self._with(ended=self.ended | dict(events))

    def seen(self, observation: Observation) -> Incident:
        """Replace the observation."""
        return self._with(observation=observation)

    def tells(self, *facts: Fact) -> Incident:
        """Add facts to the narrative, and log them."""
        decision_log.write(self.incident_id, self.series, self.traceparent, *facts)
        return self._with(narrative=extended(self.narrative, *facts))

    def left(self, value: float | None, gone_since: datetime | None = None) -> Incident:
        """Set the value at its end, if known; of an ended series, the last value."""
        return self._with(left_at=value, gone_since=gone_since)

    def noted(self, *words: str, after: Point | None = None) -> Incident:
        """Add sentences about what was done, and the value read afterwards."""
        return self._with(actions=(*self.actions, *words), after=after or self.after)

    def published(self) -> Incident:
        """Count one more change published to subscribers."""
        return self._with(sequence=self.sequence + 1)

    def flapping_as(self, flapping: Flaps) -> Incident:
        """Keep the flapping of its series, for the opening of its notification."""
        return self._with(flapping=flapping)

    def acknowledged(self, by: str) -> Incident:
        """Record who acknowledged it."""
        return self._with(acknowledged_by=by).noted(f"Acknowledged by {by}.")

    def worse_than_acknowledged(self, now: datetime) -> Incident:
        """Discard the acknowledgement of a lower severity, so that it escalates again."""
        if not self.acknowledged_by:
            return self
        words = f"It has become {self.severity} since {self.acknowledged_by} acknowledged it."
        return self._with(acknowledged_by="").noted(words).tells(Decided(at=now, words=words))

    def handled_by(self, handling: Handling) -> Incident:
        """Set how it is handled from now on."""
        return self._with(handling=handling)

    def telling(self, tell: News) -> Incident:
        """Set the kind of the notification in preparation."""
        return self if tell == self.tell else self._with(tell=tell)

    def notified(self, evidence: EvidenceCollected | None) -> Incident:
        """Count a requested notification, and keep its evidence."""
        return self._with(mails=self.mails + 1, evidence=evidence or self.evidence)

    def proposing(self, action_id: str, remediation: str, handling: Handling) -> Incident:
        """Record a proposed action, whose plan was requested."""
        return self._with(action_id=action_id, remediation=remediation, plan=(), handling=handling)

    def planned(self, steps: tuple[RemediationStep, ...]) -> Incident:
        """Record the requested plan."""
        return self._with(plan=steps).complete("plan")

    def with_evidence(self, found: EvidenceCollected) -> Incident:
        """Record the requested evidence."""
        return self._with(evidence=found).complete("evidence")

    def complete(self, *parts: Missing) -> Incident:
        """Stop waiting for these parts of the notification in preparation."""
        left = tuple(each for each in self.missing if each not in parts)
        return self if left == self.missing else self._with(missing=left)

    def trying(self) -> Incident:
        """Count one more attempt at a remediation."""
        return self._with(attempts=self.attempts + 1)

    def awaiting(self, command_id: str, until: datetime, missing: tuple[Missing, ...]) -> Incident:
        """Wait for the machine to send these parts of a notification."""
        return self._to(Phase.EVIDENCE, until, command_id, missing=missing)

    def acting(
        self, action_id: str, remediation: str, command_id: str, until: datetime
    ) -> Incident:
        """Wait for an ordered remediation."""
        return self._to(
            Phase.ACTING,
            until,
            command_id,
            handling="automatic",
            remediation=remediation,
            action_id=action_id,
            acted_on=self.observation,
            missing=(),
        )

    def settling(self, until: datetime) -> Incident:
        """Wait until ``until`` for the effect of an executed remediation."""
        return self._to(Phase.SETTLING, until)

    def reading(self, command_id: str, until: datetime) -> Incident:
        """Wait for a requested reading of the item."""
        return self._to(Phase.READING, until, command_id)

    def undoing(self, command_id: str, until: datetime) -> Incident:
        """Wait for the remediation to be undone."""
        return self._to(Phase.UNDOING, until, command_id)

    def resting(self) -> Incident:
        """Wait for a signal to open, end or expire."""
        times = [s.ends for s in self.signals.values() if s.ends is not None]
        return self._to(Phase.WAITING, min(times, default=None))

    def closed(self, now: datetime, forget: datetime, *, handled: bool, until_ms: int) -> Incident:
        """Close it; signals still open count as handled up to ``until_ms``."""
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
        """Change fields by name; only the typed methods above call this."""
        return changed(self, **changes)


def _weight(signal: Signal, observation: Observation) -> tuple[bool, int, bool, int]:
    """The order in which the signal that people read about is chosen.

    A firing signal comes before a predicted one, then the more severe, one with a threshold, the
    newer.
    """
    measured = observation.threshold is not None
    return signal.state is AlertState.FIRING, RANK[signal.severity], measured, signal.time_ms


INCIDENTS = Collection(
    "incidents",
    Incident,
    key=lambda i: i.incident_id,
    group=lambda i: series_key(i.series),
    status=lambda i: i.phase,
    due=lambda i: i.due,
)
OVERTAKEN_FOR = timedelta(days=1)
"""The time for which an end that arrived before its start is kept."""
