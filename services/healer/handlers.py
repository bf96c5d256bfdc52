"""One method per message; whatever the order and number of deliveries, the outcome is the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from services.healer import ledger
from services.healer.actions import ACTIONS, MACHINES, OPEN_ACTIONS, Machine
from services.healer.alerting.announcing import Announcer
from services.healer.alerting.dispatch import Dispatch
from services.healer.alerting.flapping import flaps
from services.healer.alerting.people import People
from services.healer.alerting.records import DELIVERIES, NOTICES, Flaps
from services.healer.alerting.silences import SILENCES
from services.healer.answers import heard
from services.healer.canary import Canary, about_canary, is_its_alarm
from services.healer.chronicle import FOREVER, Chronicle
from services.healer.clicks import clicks
from services.healer.course import Course
from services.healer.deciding import Deciding
from services.healer.effects import is_wanted
from services.healer.mail.words import counted, quantity
from services.healer.outside import OutsideAlert, understood
from services.healer.records import (
    COMMANDS,
    ENDED,
    INCIDENTS,
    OVERTAKEN_FOR,
    RUNS,
    Ended,
    Incident,
    Phase,
    Sight,
    Signal,
    dealt_with,
    incidents_of,
    open_among,
    open_incident,
)
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
from shared.contracts.alerts import AlertState, SeriesRef, Severity
from shared.contracts.healing import ActionState
from shared.contracts.message import deterministic_id
from shared.items import ITEMS
from shared.service import Context

_STEPS_TOLD = 5
_DONE = ("sent", "refused", "digested")
_OUTCOMES = {
    "did_not_come": "the forecast no longer reaches the threshold",
    "averted": "the value was brought down before it reached the threshold",
}


class Handlers:
    """The healer's handlers under its settings."""

    def __init__(self, settings: HealerSettings) -> None:
        self._course = Course(settings)
        self._alerting = settings.alerting
        self._alarm_wait = timedelta(seconds=settings.alarm_wait_s)
        self._keep = timedelta(days=settings.keep_days)
        dispatch = Dispatch(settings.alerting, settings.all_channels, self._keep)
        self._announcer = Announcer(settings, dispatch)
        self.deciding = Deciding(settings, self._course.handling)
        self.canary = Canary(settings.canary_every_s, dispatch)
        self.people = People(settings, self._course.chronicle, dispatch)
        self.clicks = clicks(self.people, self.deciding)

    def anomaly_detected(self, message: AnomalyDetected, ctx: Context) -> Iterable[Message]:
        """A series has left its normal behaviour or its threshold."""
        canary = about_canary(message.series)
        past = incidents_of(ctx.records, message.series)
        if (canary and not is_its_alarm(message)) or is_wanted(message, past, ctx):
            return ()
        ledger.alarmed(message, open_among(past), ctx)
        signal = Signal(
            event_id=message.event_id,
            state=AlertState.FIRING,
            severity=Severity.INFO if canary else message.severity,
            time_ms=message.time_ms,
        )
        item = ITEMS.get(message.series.item)
        sight = Sight(
            value=message.value,
            threshold=message.threshold,
            above=item.above if item else True,
            direction=message.direction,
            sentence=message.sentence,
            recent=message.recent,
            band=message.band,
        )
        return self._came(message.series, message.family, signal, sight, ctx, past)

    def alarm_predicted(self, message: AlarmPredicted, ctx: Context) -> Iterable[Message]:
        """A forecast crosses a threshold, or a known one changed much."""
        ledger.predicted(message, ctx)
        signal = Signal(
            event_id=message.event_id,
            state=AlertState.PREDICTED,
            severity=message.severity,
            revision=message.revision,
            time_ms=message.time_ms,
        )
        sight = Sight(
            value=message.value,
            threshold=message.threshold,
            above=message.above,
            sentence=message.sentence,
            crossing_ms=message.crossing_ms,
            earliest_ms=message.earliest_ms,
            latest_ms=message.latest_ms,
            predicted_value=message.predicted_value,
            recent=message.recent,
            band=message.forecast,
        )
        return self._came(message.series, message.family, signal, sight, ctx)

    def anomaly_cleared(self, message: AnomalyCleared, ctx: Context) -> Iterable[Message]:
        """The episode is over."""
        why = f"back to normal at {message.value:.4g}"
        return self._went(message.series, message.event_id, why, ctx, message.value)

    def prediction_withdrawn(self, message: PredictionWithdrawn, ctx: Context) -> Iterable[Message]:
        """The prediction is over; one that came true waits for the detector's alarm."""
        ledger.withdrawn(message, ctx)
        if message.outcome != "came_true":
            why = _OUTCOMES[message.outcome]
            return self._went(message.series, message.event_id, why, ctx)
        return self._came_true(message, ctx)

    def outside_alert(
        self, alert: OutsideAlert, holds: timedelta | None, ctx: Context
    ) -> Iterable[Message]:
        """Somebody else's alert; without a repetition within ``holds`` it ends."""
        found = understood(alert, ctx.now, holds)
        if found.over:
            return self._went(found.series, found.signal.event_id, "its source says so", ctx)
        return self._came(found.series, found.family, found.signal, found.sight, ctx)

    def evidence_collected(self, message: EvidenceCollected, ctx: Context) -> Iterable[Message]:
        """A machine says what causes the alarm."""
        heard(message.host, ctx)
        incident = self._awaiting(message.command_id, Phase.EVIDENCE, ctx)
        if incident is not None:
            self._course.handling.told_by(incident, message, ctx)
        return ()

    def remediation_executed(self, message: RemediationExecuted, ctx: Context) -> Iterable[Message]:
        """A machine did what it was told, or says why not."""
        if registered().get(message.remediation, Remediation).PLACE == "node":
            heard(message.host, ctx)
        handling = self._course.handling
        if message.dry_run and (planning := self._planning(message.command_id, ctx)) is not None:
            return handling.planned(planning, message, ctx)
        problem = ""
        if not message.succeeded:
            problem = f"{message.remediation} failed: {message.detail or 'without a reason'}."
        elif message.dry_run:
            problem = "It was a dry run: nothing was changed."
        undoing = self._awaiting(message.command_id, Phase.UNDOING, ctx)
        if undoing is not None:
            return handling.undone(undoing, _told_steps(message), problem, ctx)
        incident = self._awaiting(message.command_id, Phase.ACTING, ctx)
        if incident is None:
            return ()
        return handling.remedied(incident, message, _told_steps(message), problem, ctx)

    def item_observed(self, message: ItemObserved, ctx: Context) -> Iterable[Message]:
        """The item's value after a remediation."""
        heard(message.series.host, ctx)
        incident = self._awaiting(message.command_id, Phase.READING, ctx)
        if incident is None:
            return ()
        if message.value is None:
            reason = f"The item could not be read again: {message.detail or 'no reason given'}."
            return self._course.handling.unreadable(incident, reason, ctx)
        return self._course.handling.verify(incident, message.value, message.at, ctx)

    def expire(self, ctx: Context) -> Iterator[Message]:
        """What the clock brings: answers that did not come, and forgetting."""
        for incident in ctx.records.find(INCIDENTS, due_before=ctx.now):
            yield from self._course.overdue(incident, ctx)
        for action in ctx.records.find(ACTIONS, due_before=ctx.now):
            if action.state is ActionState.PROPOSED:
                yield from self._course.handling.expired(action, ctx)
            elif action.state not in OPEN_ACTIONS:
                ctx.records.delete(ACTIONS, action.action_id)
        self._forget(ctx)

    def _forget(self, ctx: Context) -> None:
        for command in ctx.records.find(COMMANDS, due_before=ctx.now):
            ctx.records.delete(COMMANDS, command.command_id)
        for run in ctx.records.find(RUNS, due_before=ctx.now):
            ctx.records.delete(RUNS, run.command_id)
        for ended in ctx.records.find(ENDED, due_before=ctx.now):
            ctx.records.delete(ENDED, ended.event_id)
        for delivery in ctx.records.find(DELIVERIES, status=_DONE, due_before=ctx.now):
            ctx.records.delete(DELIVERIES, delivery.delivery_id)
        for record in ctx.records.find(NOTICES, due_before=ctx.now):
            ctx.records.delete(NOTICES, record.notice.message_id)
        for silence in ctx.records.find(SILENCES, due_before=ctx.now - self._keep):
            ctx.records.delete(SILENCES, silence.silence_id)

    def flush(self, ctx: Context) -> None:
        """Tell people what is to be told by now."""
        self._announcer.flush(ctx)

    def _came(
        self,
        series: SeriesRef,
        family: str,
        signal: Signal,
        sight: Sight,
        ctx: Context,
        past: Sequence[Incident] | None = None,
    ) -> Iterator[Message]:
        past = incidents_of(ctx.records, series) if past is None else past
        if dealt_with(ctx.records, past, signal):
            return
        ctx.records.put(MACHINES, Machine(host=series.host, seen=ctx.now))
        before = open_among(past)
        if before is None:
            opened = Incident(
                incident_id=deterministic_id("incident", signal.event_id, signal.revision),
                series=series,
                family=family,
                opened_at=ctx.now,
                state=signal.state,
                severity=signal.severity,
                sight=sight,
                signals={signal.event_id: signal},
                flapping=self._flaps(past, ctx),
            )
            yield from self._course.changed(None, opened, ctx)
            return
        known = before.signals.get(signal.event_id)
        if known is not None and known.revision >= signal.revision:
            self._repeated(before, known, signal, ctx)
            return
        yield from self._course.changed(before, before.with_signal(signal, sight), ctx)

    def _went(
        self,
        series: SeriesRef,
        event_id: str,
        why: str,
        ctx: Context,
        value: float | None = None,
    ) -> Iterator[Message]:
        ctx.records.put(ENDED, Ended(event_id=event_id, due=ctx.now + OVERTAKEN_FOR))
        before = open_incident(ctx.records, series)
        if before is None or event_id not in before.signals:
            return
        left = {key: signal for key, signal in before.signals.items() if key != event_id}
        ended = {"ended": before.ended | {event_id: FOREVER}}
        hold_s = self._hold_s(before.signals[event_id], before.sight, value)
        if hold_s > 0 and not left:
            until = ctx.now + timedelta(seconds=hold_s)
            held = before.signals[event_id].model_copy(update={"until": until, "ending": why})
            now = before.with_signals({event_id: held}).model_copy(update=ended)
            ctx.records.put(INCIDENTS, Chronicle.resting(now) if _rests(now) else now)
            return
        now = before.with_signals(left).model_copy(update=ended)
        yield from self._course.changed(before, now, ctx, why)

    def _hold_s(self, signal: Signal, sight: Sight, value: float | None) -> float:
        """How long an alarm that seems over is kept, so that it does not flicker."""
        how = self._alerting
        if signal.state is not AlertState.FIRING:
            return 0.0
        if value is None or sight.threshold is None:
            return how.keep_firing_s
        back = sight.threshold - value if sight.above else value - sight.threshold
        clear = back >= how.clear_margin * abs(sight.threshold)
        return how.keep_firing_s if clear else max(how.keep_firing_s, how.clear_hold_s)

    def _flaps(self, past: Sequence[Incident], ctx: Context) -> Flaps:
        openings = [ctx.now, *(incident.opened_at for incident in past)]
        before = bool(past and past[0].flapping)
        if not flaps(openings, ctx.now, before=before, how=self._alerting.flapping):
            return ""
        return "goes on" if before else "begins"

    @staticmethod
    def _repeated(incident: Incident, known: Signal, signal: Signal, ctx: Context) -> None:
        """A source that repeats what holds keeps it alive."""
        if signal.expires is None or signal.expires == known.expires:
            return
        signals = incident.signals | {signal.event_id: signal}
        now = incident.model_copy(update={"signals": signals})
        ctx.records.put(INCIDENTS, Chronicle.resting(now) if _rests(now) else now)

    def _came_true(self, message: PredictionWithdrawn, ctx: Context) -> Iterator[Message]:
        before = open_incident(ctx.records, message.series)
        signal = before.signals.get(message.event_id) if before else None
        if before is None or signal is None:
            ctx.records.put(ENDED, Ended(event_id=message.event_id, due=ctx.now + OVERTAKEN_FOR))
            return
        if len(before.signals) > 1:
            yield from self._went(message.series, message.event_id, "", ctx)
            return
        until = ctx.now + self._alarm_wait
        ending = "no alarm followed the prediction"
        arrived = signal.model_copy(
            update={"state": AlertState.FIRING, "until": until, "ending": ending}
        )
        sight = before.sight.model_copy(update={"value": message.value})
        now = before.with_signals({signal.event_id: arrived})
        update = {"sight": sight} | ({"due": until} if now.phase is Phase.WAITING else {})
        yield from self._course.changed(before, now.model_copy(update=update), ctx)

    @staticmethod
    def _planning(command_id: str, ctx: Context) -> Incident | None:
        """The incident for whose proposal this dry run was asked."""
        command = ctx.records.get(COMMANDS, command_id)
        incident = ctx.records.get(INCIDENTS, command.incident_id) if command else None
        action = ctx.records.get(ACTIONS, incident.action_id) if incident else None
        if action is None or action.state is not ActionState.PROPOSED:
            return None
        return incident if action.command_id == command_id else None

    @staticmethod
    def _awaiting(command_id: str, phase: Phase, ctx: Context) -> Incident | None:
        """The incident that waits for this very answer."""
        command = ctx.records.get(COMMANDS, command_id)
        incident = ctx.records.get(INCIDENTS, command.incident_id) if command else None
        if incident is None or incident.phase is not phase or incident.command_id != command_id:
            return None
        return incident


def _rests(incident: Incident) -> bool:
    return incident.phase is Phase.WAITING


def _told_steps(message: RemediationExecuted) -> list[str]:
    """What was done, in words: a summary, then the first steps."""
    verb = "would do" if message.dry_run else "did"
    many = counted(message.total_steps, "step")
    freed = f" and freed {quantity(message.freed_bytes, 'bytes')}" if message.freed_bytes else ""
    steps = [
        f"{step.action} {step.target}"
        + (f" ({quantity(step.freed_bytes, 'bytes')})" if step.freed_bytes else "")
        + (f": {step.error}" if step.error else "")
        for step in message.steps[:_STEPS_TOLD]
    ]
    rest = message.total_steps - len(steps)
    more = [f"and {rest} more, in the audit of {message.host}"] if rest > 0 else []
    return [f"{message.remediation} {verb} {many}{freed}.", *steps, *more]
