"""The effect of signals on their series' incident: open, change, keep alive, end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.healer.incidents.lifecycle import Lifecycle
from services.healer.incidents.store import FOREVER
from services.healer.model.action import MACHINES, Machine
from services.healer.model.commands import ENDED, Ended
from services.healer.model.incident import INCIDENTS, OVERTAKEN_FOR, Incident
from services.healer.model.narrative import Crossed
from services.healer.model.notification import FLAPS, SERIES_SEEN, SeriesSeen, series_key
from services.healer.model.series_incidents import (
    dealt_with,
    incidents_of,
    open_among,
    open_incident,
)
from services.healer.model.signal import Observation, Signal
from services.healer.model.transitions import Phase, collected
from services.healer.notify.flapping import opened as flapping_opened
from services.healer.settings import HealerSettings
from shared.contracts import Message, PredictionWithdrawn
from shared.contracts.alerts import AlertState, SeriesRef
from shared.contracts.message import deterministic_id
from shared.items import ITEMS
from shared.service import Context


class Signals:
    """Applies signals to incidents, under these settings."""

    def __init__(self, settings: HealerSettings, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._alerting = settings.alerting
        self._keep = timedelta(days=settings.keep_days)
        self._alarm_wait = timedelta(seconds=settings.alarm_wait_s)

    @collected
    def came(
        self,
        series: SeriesRef,
        family: str,
        signal: Signal,
        observation: Observation,
        ctx: Context,
        past: Sequence[Incident] | None = None,
    ) -> Iterator[Message]:
        """Open a signal; ``past`` are the series' incidents, if they are known."""
        past = incidents_of(ctx.records, series) if past is None else past
        if dealt_with(ctx.records, past, signal):
            return
        ctx.records.put(MACHINES, Machine(host=series.host, seen=ctx.now))
        before = open_among(past)
        if before is None:
            ctx.records.put(SERIES_SEEN, SeriesSeen(series=series, due=ctx.now + 2 * self._keep))
            opened = Incident(
                incident_id=_new_id(signal, past),
                series=series,
                family=family,
                opened_at=ctx.now,
                state=signal.state,
                severity=signal.severity,
                observation=observation,
                signals={signal.event_id: signal},
                shown=signal.event_id,
                traceparent=ctx.traceparent,
            ).tells(observation.fact(signal.state, ctx.now))
            yield from self._lifecycle.changed(None, self._flapping(opened, past, ctx), ctx)
            return
        known = before.signals.get(signal.event_id)
        if known is not None and known.revision >= signal.revision:
            self._repeated(before, known, signal, ctx)
            return
        now = before.with_signal(signal, observation).tells(observation.fact(signal.state, ctx.now))
        yield from self._lifecycle.changed(before, now, ctx)

    @collected
    def went(
        self,
        series: SeriesRef,
        event_id: str,
        why: str,
        ctx: Context,
        value: float | None = None,
        until_ms: int = FOREVER,
        gone_since: datetime | None = None,
    ) -> Iterator[Message]:
        """End a signal, with the series at ``value`` if that is known.

        ``gone_since``: the time of its last sample, if the series sends nothing any more.
        Up to ``until_ms`` it counts as dealt with; what comes of it later opens an alert again.
        """
        if until_ms == FOREVER:
            ctx.records.put(ENDED, Ended(event_id=event_id, due=ctx.now + OVERTAKEN_FOR))
        before = open_incident(ctx.records, series)
        if before is None or event_id not in before.signals:
            return
        left = {key: signal for key, signal in before.signals.items() if key != event_id}
        held_value = value if gone_since is None else None
        hold_s = self._hold_s(before.signals[event_id], before.observation, held_value)
        if hold_s > 0 and not left:
            until = ctx.now + timedelta(seconds=hold_s)
            held = before.signals[event_id].ending_at(until, why)
            now = before.with_signals({event_id: held}).dealt_with({event_id: until_ms})
            now = now.left(value, gone_since)
            ctx.records.put(INCIDENTS, now.resting() if _rests(now) else now)
            return
        now = before.with_signals(left).dealt_with({event_id: until_ms}).left(value, gone_since)
        yield from self._lifecycle.changed(before, now, ctx, why)

    @collected
    def over(
        self, series: SeriesRef, signal: Signal, ended_ms: int, until_ms: int, ctx: Context
    ) -> Iterator[Message]:
        """Another system says that its alert has ended, whatever start it gave the alert before.

        A sender that computes the start of an alert anew for each message gives the end another
        start than the alert had. So whatever the same source reported until then ends as well:
        signals of the same severity that end in the same way when they are not repeated.
        """
        incident = open_incident(ctx.records, series)
        others = [
            other.event_id
            for other in (incident.signals.values() if incident else ())
            if other.time_ms <= ended_ms
            and (other.severity, other.ending) == (signal.severity, signal.ending)
        ]
        for event_id in dict.fromkeys([signal.event_id, *others]):
            yield from self.went(series, event_id, "its source says so", ctx, until_ms=until_ms)

    def _hold_s(self, signal: Signal, observation: Observation, value: float | None) -> float:
        """The time for which an alarm is kept open after its end, so that it does not flicker."""
        how = self._alerting
        if signal.state is not AlertState.FIRING:
            return 0.0
        if value is None or observation.threshold is None:
            return how.keep_firing_s
        back = observation.threshold - value if observation.above else value - observation.threshold
        clear = back >= how.clear_margin * abs(observation.threshold)
        return how.keep_firing_s if clear else max(how.keep_firing_s, how.clear_hold_s)

    def _flapping(self, incident: Incident, past: Sequence[Incident], ctx: Context) -> Incident:
        """The new incident, with its series' flapping."""
        if not past:
            return incident
        before = ctx.records.get(FLAPS, series_key(incident.series))
        flapping, flap = flapping_opened(incident, past, before, self._alerting.flapping)
        if flap is not None:
            ctx.records.put(FLAPS, flap)
        return incident.flapping_as(flapping)

    @staticmethod
    def _repeated(incident: Incident, known: Signal, signal: Signal, ctx: Context) -> None:
        """Keep a repeated signal alive, even after its source had ended it."""
        same = known.until is None and signal.expires == known.expires
        if signal.expires is None or same:
            return
        now = incident.with_signals(incident.signals | {signal.event_id: signal})
        ctx.records.put(INCIDENTS, now.resting() if _rests(now) else now)

    @collected
    def came_true(self, message: PredictionWithdrawn, ctx: Context) -> Iterator[Message]:
        """Wait for the detector's alarm, because a predicted alarm is due."""
        before = open_incident(ctx.records, message.series)
        signal = before.signals.get(message.event_id) if before else None
        if before is None or signal is None:
            ctx.records.put(ENDED, Ended(event_id=message.event_id, due=ctx.now + OVERTAKEN_FOR))
            return
        if len(before.signals) > 1:
            yield from self.went(message.series, message.event_id, "", ctx)
            return
        until = ctx.now + self._alarm_wait
        arrived = signal.ending_at(until, "no alarm followed the prediction")
        item = ITEMS.get(message.series.item)
        if item is not None and item.bursts:
            # The value is beyond the threshold; the detector decides whether that is an alarm.
            waits = before.with_signals({signal.event_id: arrived})
            ctx.records.put(INCIDENTS, waits.resting() if _rests(waits) else waits)
            return
        now = before.with_signals({signal.event_id: arrived.firing()})
        now = now.seen(before.observation.reached(message.value)).tells(
            Crossed(at=ctx.now, value=message.value, threshold=before.observation.threshold)
        )
        yield from self._lifecycle.changed(before, now.resting() if _rests(now) else now, ctx)


def _new_id(signal: Signal, past: Sequence[Incident]) -> str:
    """The id of the alert that a signal opens, the same however often the signal is delivered.

    A source that was silent too long or begins again repeats the same event: that is an alert of
    its own. With the id of the first one its notices and changes would be taken for repetitions.
    """
    first = deterministic_id("incident", signal.event_id, signal.revision)
    if all(signal.event_id not in incident.ended for incident in past):
        return first
    return deterministic_id("incident", signal.event_id, signal.revision, signal.time_ms)


def _rests(incident: Incident) -> bool:
    return incident.phase is Phase.WAITING
