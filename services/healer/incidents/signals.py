"""What a signal does to its series' incident: opens it, changes it, ends it or keeps it alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from services.healer.incidents.lifecycle import Course
from services.healer.incidents.store import FOREVER, Chronicle
from services.healer.model.action import MACHINES, Machine
from services.healer.model.incident import (
    ENDED,
    INCIDENTS,
    OVERTAKEN_FOR,
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
from services.healer.model.notification import FLAPS, series_key
from services.healer.notify.flapping import opened as flapping_opened
from services.healer.settings import HealerSettings
from shared.contracts import Message, PredictionWithdrawn
from shared.contracts.alerts import AlertState, SeriesRef
from shared.contracts.message import deterministic_id
from shared.service import Context


class Signals:
    """Signals that come and go, under these settings."""

    def __init__(self, settings: HealerSettings, course: Course) -> None:
        self._course = course
        self._alerting = settings.alerting
        self._alarm_wait = timedelta(seconds=settings.alarm_wait_s)

    def came(
        self,
        series: SeriesRef,
        family: str,
        signal: Signal,
        sight: Sight,
        ctx: Context,
        past: Sequence[Incident] | None = None,
    ) -> Iterator[Message]:
        """Something is wrong with the series; ``past``: its incidents, if they are known."""
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
            )
            yield from self._course.changed(None, self._flapping(opened, past, ctx), ctx)
            return
        known = before.signals.get(signal.event_id)
        if known is not None and known.revision >= signal.revision:
            self._repeated(before, known, signal, ctx)
            return
        yield from self._course.changed(before, before.with_signal(signal, sight), ctx)

    def went(
        self,
        series: SeriesRef,
        event_id: str,
        why: str,
        ctx: Context,
        value: float | None = None,
    ) -> Iterator[Message]:
        """The event is over, with the series at ``value`` if that is known."""
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

    def _flapping(self, incident: Incident, past: Sequence[Incident], ctx: Context) -> Incident:
        """The new incident, with what it says of its series' flapping."""
        if not past:
            return incident
        before = ctx.records.get(FLAPS, series_key(incident.series))
        flapping, flap = flapping_opened(incident, past, before, self._alerting.flapping)
        if flap is not None:
            ctx.records.put(FLAPS, flap)
        return incident.model_copy(update={"flapping": flapping})

    @staticmethod
    def _repeated(incident: Incident, known: Signal, signal: Signal, ctx: Context) -> None:
        """A source that repeats what holds keeps it alive."""
        if signal.expires is None or signal.expires == known.expires:
            return
        signals = incident.signals | {signal.event_id: signal}
        now = incident.model_copy(update={"signals": signals})
        ctx.records.put(INCIDENTS, Chronicle.resting(now) if _rests(now) else now)

    def came_true(self, message: PredictionWithdrawn, ctx: Context) -> Iterator[Message]:
        """A predicted alarm is due: the detector's own is awaited."""
        before = open_incident(ctx.records, message.series)
        signal = before.signals.get(message.event_id) if before else None
        if before is None or signal is None:
            ctx.records.put(ENDED, Ended(event_id=message.event_id, due=ctx.now + OVERTAKEN_FOR))
            return
        if len(before.signals) > 1:
            yield from self.went(message.series, message.event_id, "", ctx)
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


def _rests(incident: Incident) -> bool:
    return incident.phase is Phase.WAITING
