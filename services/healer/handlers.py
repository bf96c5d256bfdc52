"""One method per message; the result does not depend on the order or number of deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from services.healer.actions import scores
from services.healer.incidents.alert_machine import candidates, located, read_ahead
from services.healer.incidents.alertmanager_alerts import Outside, OutsideAlert
from services.healer.incidents.answers import heard
from services.healer.incidents.canary import Canary
from services.healer.incidents.clock_steps import ClockSteps
from services.healer.incidents.effects import healed, is_relief, is_stale
from services.healer.incidents.expiry import Expiry
from services.healer.incidents.lifecycle import Lifecycle
from services.healer.incidents.signals import Signals
from services.healer.incidents.store import FOREVER
from services.healer.jobs.notices import JobNotices
from services.healer.model.action import ACTIONS
from services.healer.model.canary import about_canary, is_its_alarm
from services.healer.model.commands import COMMANDS
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.series_incidents import incidents_of, open_among
from services.healer.model.signal import Observation, Signal
from services.healer.model.transitions import Phase
from services.healer.notify.announcer import ALERTS_AT_ONCE, Announcer
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.render.story import gone
from services.healer.notify.undeliverable import Undeliverable
from services.healer.people.acknowledgement import People
from services.healer.people.decisions import Decisions
from services.healer.people.link_actions import clicks
from services.healer.remediations import Remediation, registered
from services.healer.settings import HealerSettings
from shared.contracts import (
    AlarmPredicted,
    AnomalyCleared,
    AnomalyDetected,
    EvidenceCollected,
    ItemObserved,
    Message,
    PredictionWithdrawn,
    RemediationExecuted,
)
from shared.contracts.alerts import AlertState, ClearedReason, SeriesRef, Severity
from shared.contracts.healing import ActionState
from shared.items import ITEMS
from shared.quantity import counted, quantity, unit_of
from shared.service import Context

_MAX_STEPS_SHOWN = 5
_ALARMS = frozenset({"threshold", "alive"})
"""Detectors that compare with a threshold, not with usual behaviour."""
_FIRED = frozenset({"alarm", "anomaly"})
"""The facts of an incident that was more than a prediction."""
_OUTCOMES = {
    "did_not_come": "the forecast no longer reaches the threshold",
    "averted": "the value was brought down before it reached the threshold",
}


class Handlers:
    """The healer's handlers under its settings; ``uptime`` as for `ClockSteps`."""

    def __init__(
        self,
        settings: HealerSettings,
        uptime: Callable[[], float] | None = None,
        alerts_at_once: int = ALERTS_AT_ONCE,
    ) -> None:
        self._lifecycle = Lifecycle(settings)
        self._signals = Signals(settings, self._lifecycle)
        keep = timedelta(days=settings.keep_days)
        self.dispatch = Dispatch(settings.alerting, settings.all_channels, keep)
        self.announcer = Announcer(
            settings.alerting, settings.policy, keep, self.dispatch, alerts_at_once
        )
        self.decisions = Decisions(settings, self._lifecycle.handling)
        self.canary = Canary(settings.canary_every_s, self.dispatch)
        self.jobs = JobNotices(self.dispatch, settings.job_notices, settings.all_channels)
        self.expiry = Expiry(
            ClockSteps(uptime),
            self._lifecycle,
            self.jobs,
            Undeliverable(settings.all_channels, keep),
            keep,
        )
        self.people = People(settings, self._lifecycle.incidents, self.dispatch)
        self.clicks = clicks(self.people, self.decisions)

    def anomaly_detected(self, message: AnomalyDetected, ctx: Context) -> Iterable[Message]:
        """A series has left its normal behaviour or its threshold."""
        canary = about_canary(message.series)
        past = incidents_of(ctx.records, message.series)
        if canary and not is_its_alarm(message):
            return ()
        if not canary and is_relief(message, past, ctx):
            return ()
        scores.alarmed(message, open_among(past), ctx)
        signal = Signal(
            event_id=message.event_id,
            state=AlertState.FIRING,
            severity=Severity.INFO if canary else message.severity,
            time_ms=message.time_ms,
        )
        item = ITEMS.get(message.series.item)
        observation = Observation(
            value=message.value,
            threshold=message.threshold,
            above=item.above if item else True,
            direction=message.direction,
            kind=message.kind,
            sentence=message.sentence,
            strange=not _is_alarm(message),
            votes=tuple(vote.detector for vote in message.votes if vote.anomalous),
            recent=message.recent,
            band=message.band,
        )
        return self._signals.came(message.series, message.family, signal, observation, ctx, past)

    def alarm_predicted(self, message: AlarmPredicted, ctx: Context) -> Iterable[Message]:
        """A forecast crosses a threshold, or a known one changed much."""
        scores.predicted(message, ctx)
        if is_stale(message, ctx):
            return ()
        signal = Signal(
            event_id=message.event_id,
            state=AlertState.PREDICTED,
            severity=message.severity,
            revision=message.revision,
            time_ms=message.time_ms,
        )
        observation = Observation(
            value=message.value,
            threshold=message.threshold,
            above=message.above,
            sentence=message.sentence,
            crossing_ms=message.crossing_ms,
            earliest_ms=message.earliest_ms,
            latest_ms=message.latest_ms,
            predicted_value=message.predicted_value,
            probability=message.probability,
            forecaster=message.forecaster,
            recent=message.recent,
            band=message.forecast,
        )
        return self._signals.came(message.series, message.family, signal, observation, ctx)

    def anomaly_cleared(self, message: AnomalyCleared, ctx: Context) -> Iterable[Message]:
        """The episode is over."""
        series, event_id, value = message.series, message.event_id, message.value
        if message.reason is ClearedReason.BACK:
            why = f"back to normal at {value:.4g}"
            return self._signals.went(series, event_id, why, ctx, value)
        return self._series_ended(series, event_id, value, message.last_sample_ms, ctx)

    def prediction_withdrawn(self, message: PredictionWithdrawn, ctx: Context) -> Iterable[Message]:
        """The prediction is over; one that came true waits for the detector's alarm."""
        scores.withdrawn(message, ctx)
        if message.outcome == "came_true":
            return self._signals.came_true(message, ctx)
        if message.outcome == "averted":
            healed(message.series, message.time_ms, ctx)
        series, event_id, value = message.series, message.event_id, message.value
        if message.outcome == "series_ended":
            return self._series_ended(series, event_id, value, message.last_sample_ms, ctx)
        why = _OUTCOMES[message.outcome]
        before = open_among(incidents_of(ctx.records, series))
        if before is not None and any(fact.kind in _FIRED for fact in before.narrative):
            why = "the alarm is over, and no other is predicted"
        return self._signals.went(series, event_id, why, ctx, value)

    def _series_ended(
        self,
        series: SeriesRef,
        event_id: str,
        value: float,
        last_ms: int | None,
        ctx: Context,
    ) -> Iterable[Message]:
        """The series sends nothing any more, and what was open of it ends."""
        since = ctx.now if last_ms is None else datetime.fromtimestamp(last_ms / 1000, UTC)
        why = gone(since, value, unit_of(series.item), ctx.now)
        return self._signals.went(series, event_id, why, ctx, value, gone_since=since)

    def outside_alerts(
        self, alerts: Sequence[OutsideAlert], holds: timedelta | None, ctx: Context
    ) -> Iterator[Message]:
        """Alerts from another system; each ends unless it is repeated within ``holds``."""
        several = [candidates(alert, ctx.now, holds) for alert in alerts]
        read_ahead(several, ctx.records)
        for alert, each in zip(alerts, several, strict=True):
            yield from self._outside_alert(alert, located(each, ctx.records), ctx)

    def _outside_alert(
        self, alert: OutsideAlert, found: Outside, ctx: Context
    ) -> Iterable[Message]:
        if found.over:
            # Without its own start, the next one cannot be distinguished from a late repetition of
            # this one by anything but when it comes.
            until_ms = FOREVER if alert.began else found.signal.time_ms - 1
            return self._signals.over(found.series, found.signal, found.ended_ms, until_ms, ctx)
        return self._signals.came(found.series, found.family, found.signal, found.observation, ctx)

    def evidence_collected(self, message: EvidenceCollected, ctx: Context) -> Iterable[Message]:
        """A machine's evidence of the alarm's cause has arrived."""
        heard(message.host, ctx)
        incident = self._awaiting(message.command_id, Phase.EVIDENCE, ctx)
        if incident is not None:
            self._lifecycle.handling.evidence.answered(incident, message, ctx)
        return ()

    def remediation_executed(self, message: RemediationExecuted, ctx: Context) -> Iterable[Message]:
        """A machine has executed its command, or says why not."""
        if registered().get(message.remediation, Remediation).PLACE == "node":
            heard(message.host, ctx)
        handling = self._lifecycle.handling
        if message.dry_run and (planning := self._planning(message.command_id, ctx)) is not None:
            return handling.planned(planning, message, ctx)
        problem = ""
        if not message.succeeded:
            problem = f"{message.remediation} failed: {message.detail or 'without a reason'}."
        elif message.dry_run:
            problem = "It was a dry run: nothing was changed."
        undoing = self._awaiting(message.command_id, Phase.UNDOING, ctx)
        if undoing is not None:
            return handling.verification.undone(undoing, _steps(message), problem, ctx)
        incident = self._awaiting(message.command_id, Phase.ACTING, ctx)
        if incident is None:
            return ()
        return handling.verification.remedied(incident, message, _steps(message), problem, ctx)

    def item_observed(self, message: ItemObserved, ctx: Context) -> Iterable[Message]:
        """The item's value after a remediation."""
        heard(message.series.host, ctx)
        incident = self._awaiting(message.command_id, Phase.READING, ctx)
        if incident is None:
            return ()
        if message.value is None:
            reason = f"The item could not be read again: {message.detail or 'no reason given'}."
            return self._lifecycle.handling.verification.unreadable(incident, reason, ctx)
        return self._lifecycle.handling.verification.verify(
            incident, message.value, message.at, ctx
        )

    @staticmethod
    def _planning(command_id: str, ctx: Context) -> Incident | None:
        """The incident for whose proposal this dry run was requested."""
        command = ctx.records.get(COMMANDS, command_id)
        incident = ctx.records.get(INCIDENTS, command.incident_id) if command else None
        action = ctx.records.get(ACTIONS, incident.action_id) if incident else None
        if action is None or action.state is not ActionState.PROPOSED:
            return None
        return incident if action.command_id == command_id else None

    @staticmethod
    def _awaiting(command_id: str, phase: Phase, ctx: Context) -> Incident | None:
        """The incident that waits for this answer."""
        command = ctx.records.get(COMMANDS, command_id)
        incident = ctx.records.get(INCIDENTS, command.incident_id) if command else None
        if incident is None or incident.phase is not phase or incident.command_id != command_id:
            return None
        return incident


def _is_alarm(message: AnomalyDetected) -> bool:
    """Return whether a threshold was crossed or a machine is silent; the rest are anomalies."""
    if any(vote.detector in _ALARMS and vote.anomalous for vote in message.votes):
        return True
    item = ITEMS.get(message.series.item)
    if message.threshold is None:
        return item is not None and item.family == "host"
    beyond = message.value - message.threshold
    return beyond >= 0 if item is None or item.above else beyond <= 0


def _steps(message: RemediationExecuted) -> list[str]:
    """The remediation's outcome in words: a summary, then the first steps."""
    verb = "would do" if message.dry_run else "did"
    many = counted(message.total_steps, "step")
    freed = f" and freed {quantity(message.freed_bytes, 'bytes')}" if message.freed_bytes else ""
    steps = [
        f"{step.action} {step.target}"
        + (f" ({quantity(step.freed_bytes, 'bytes')})" if step.freed_bytes else "")
        + (f": {step.error}" if step.error else "")
        for step in message.steps[:_MAX_STEPS_SHOWN]
    ]
    rest = message.total_steps - len(steps)
    more = [f"and {rest} more, in the audit of {message.host}"] if rest > 0 else []
    return [f"{message.remediation} {verb} {many}{freed}.", *steps, *more]
