"""One function per event about alerts; late and repeated events change nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from services.client.alerts import actions, cases
from services.client.alerts.records import (
    ALERTS,
    CURVES,
    EPISODES,
    EVENTS,
    SERIES_ENDED,
    AlertEvent,
    AlertView,
    Curve,
    Episode,
    labels_of,
)
from services.client.alerts.wording import measured
from shared.changes import with_changes
from shared.contracts import (
    ActionChanged,
    AlarmPredicted,
    AlertChanged,
    AnomalyCleared,
    AnomalyDetected,
    PredictionWithdrawn,
    RemediationVerified,
)
from shared.contracts.alerts import AlertState, BandPoint, ClearedReason, Point, SeriesRef
from shared.service import Context

P = TypeVar("P", Point, BandPoint)
MAX_POINTS = 240
"""Points of a curve that are kept: a plot has no more columns to show."""
MAX_EVENTS = 200
"""Lines of one alert's history that are kept: the newest."""
_AT_ONCE = 50
_CHANGE, _ACTION, _VERIFIED, _END = 1, 2, 3, 4
"""The order of what one message of the healer's caused at the same time; signals come before."""


def alert_changed(event: AlertChanged, ctx: Context) -> tuple[()]:
    """Show the alert as its newest change says."""
    text = event.outcome or event.sentence
    if event.acknowledged_by and event.state is not AlertState.RESOLVED:
        text = f"{text} (acknowledged by {event.acknowledged_by})"
    kind = f"{event.state} {event.severity}" if not event.outcome else str(event.state)
    noted = AlertEvent(
        alert_id=event.alert_id,
        id=f"change/{event.sequence}",
        at=event.at,
        kind=kind,
        text=text,
        order=_END if event.state is AlertState.RESOLVED else _CHANGE,
        sequence=event.sequence,
    )
    _note(noted, ctx)
    known = ctx.records.get(ALERTS, event.alert_id)
    if known is not None and event.sequence <= known.sequence:
        if event.at < known.first_at:
            ctx.records.put(ALERTS, with_changes(known, first_at=event.at))
        return ()
    first_at = min(known.first_at, event.at) if known else event.at
    ctx.records.put(ALERTS, _view(event, first_at))
    return ()


def _view(event: AlertChanged, first_at: datetime) -> AlertView:
    """The alert as this change says it is."""
    return AlertView(
        alert_id=event.alert_id,
        sequence=event.sequence,
        state=event.state,
        severity=event.severity,
        family=event.family,
        **_of_series(event.series),
        value=_finite(event.value),
        threshold=_finite(event.threshold),
        crossing_ms=event.crossing_ms,
        sentence=event.sentence,
        handling=event.handling,
        acknowledged_by=event.acknowledged_by,
        outcome=event.outcome,
        first_at=first_at,
        at=event.at,
    )


def action_changed(event: ActionChanged, ctx: Context) -> tuple[()]:
    """Note where an action on the alert stands."""
    count = event.total_steps
    plan = f", {count} {'step' if count == 1 else 'steps'}" if count else ""
    why = f": {event.reason}" if event.reason else ""
    text = f"{event.remediation} on {event.target}{plan}{why}"
    noted = AlertEvent(
        alert_id=event.incident_id,
        id=f"action/{event.action_id}/{event.sequence}",
        at=event.at,
        kind=f"action {event.state}",
        text=text,
        by=event.by,
        order=_ACTION,
        sequence=event.sequence,
    )
    _note(noted, ctx)
    actions.remember(event, ctx)
    return ()


def remediation_verified(event: RemediationVerified, ctx: Context) -> tuple[()]:
    """Note what a remediation did to the value."""
    effect = "it helped" if event.effective else "it did not help"
    if event.saved:
        effect = "the predicted alarm never had to fire"
    before, after = (measured(value, event.series.item) for value in (event.before, event.after))
    text = f"{event.remediation}: {before} before, {after} after; {effect}"
    noted = AlertEvent(
        alert_id=event.incident_id,
        id=f"verified/{event.command_id}",
        at=event.at,
        kind="remediation verified",
        text=text,
        order=_VERIFIED,
    )
    _note(noted, ctx)
    cases.action_verified(event, _of_series(event.series)["labels"], ctx)
    return ()


def anomaly_detected(event: AnomalyDetected, ctx: Context) -> tuple[()]:
    """Keep when and why a series left its normal behaviour, and its curve."""
    known = _episode(event.event_id, "anomaly", event.series, ctx)
    if known.revision:
        return ()
    changes = {
        "revision": 1,
        "opened_ms": event.time_ms,
        "value": _finite(event.value),
        "threshold": _finite(event.threshold),
        "sentence": event.sentence,
    }
    ctx.records.put(EPISODES, with_changes(known, **changes))
    cases.alarm_came(known, event, ctx)
    _keep_curve(event.event_id, event.threshold, event.recent, event.band, (), ctx)
    return ()


def alarm_predicted(event: AlarmPredicted, ctx: Context) -> tuple[()]:
    """Keep the prediction's newest revision, and its curve."""
    known = _episode(event.event_id, "prediction", event.series, ctx)
    opened_ms = min(event.time_ms, known.opened_ms or event.time_ms)
    if event.revision <= known.revision:
        ctx.records.put(EPISODES, with_changes(known, opened_ms=opened_ms))
        cases.prediction_changed(known.series, ctx)
        return ()
    likely = event.likely_from_ms is not None and event.likely_until_ms is not None
    changes = {
        "revision": event.revision,
        "opened_ms": opened_ms,
        "revised_ms": event.time_ms,
        "value": _finite(event.value),
        "threshold": _finite(event.threshold),
        "sentence": event.sentence,
        "above": event.above,
        "crossing_ms": event.crossing_ms,
        "earliest_ms": event.likely_from_ms if likely else event.earliest_ms,
        "latest_ms": event.likely_until_ms if likely else event.latest_ms,
        "probability": _finite(event.probability),
    }
    ctx.records.put(EPISODES, with_changes(known, **changes))
    cases.prediction_changed(known.series, ctx)
    _keep_curve(event.event_id, event.threshold, event.recent, (), event.forecast, ctx)
    return ()


def anomaly_cleared(event: AnomalyCleared, ctx: Context) -> tuple[()]:
    """The series behaves normally again, or is gone; what overtook its beginning is kept, too."""
    known = _episode(event.event_id, "anomaly", event.series, ctx)
    outcome = SERIES_ENDED if event.reason is ClearedReason.SERIES_ENDED else ""
    return _ended(known, event, outcome, ctx)


def prediction_withdrawn(event: PredictionWithdrawn, ctx: Context) -> tuple[()]:
    """The prediction is over; what overtook its beginning is kept, too."""
    known = _episode(event.event_id, "prediction", event.series, ctx)
    return _ended(known, event, event.outcome, ctx)


def _ended(
    known: Episode, event: AnomalyCleared | PredictionWithdrawn, outcome: str, ctx: Context
) -> tuple[()]:
    if known.ended_ms is None:
        changes = {
            "ended_ms": event.time_ms,
            "end_value": _finite(event.value),
            "outcome": outcome,
        }
        ended = with_changes(known, **changes)
        ctx.records.put(EPISODES, ended)
        cases.prediction_ended(ended, ctx)
    return ()


def _episode(event_id: str, kind: str, series: SeriesRef, ctx: Context) -> Episode:
    known = ctx.records.get(EPISODES, event_id)
    if known is not None:
        return known
    fields = {"event_id": event_id, "kind": kind, "received_at": ctx.now} | _of_series(series)
    return Episode.model_validate(fields)


def _of_series(series: SeriesRef) -> dict[str, Any]:
    named = {"host": series.host, "item": series.item, "labels": labels_of(series)}
    return named | {"series": series.text()}


def _note(noted: AlertEvent, ctx: Context) -> None:
    """Keep a line of the alert's history, and of its lines the newest."""
    if ctx.records.get(EVENTS, EVENTS.key(noted)) is not None:
        return
    ctx.records.put(EVENTS, noted)
    old = ctx.records.find(
        EVENTS, group=noted.alert_id, newest_first=True, offset=MAX_EVENTS, limit=_AT_ONCE
    )
    for each in old:
        ctx.records.delete(EVENTS, EVENTS.key(each))


def _keep_curve(
    event_id: str,
    threshold: float | None,
    recent: Sequence[Point],
    band: Sequence[BandPoint],
    forecast: Sequence[BandPoint],
    ctx: Context,
) -> None:
    points = tuple((p.time_ms, p.value) for p in _thinned(recent) if math.isfinite(p.value))
    curve = Curve(
        event_id=event_id,
        received_at=ctx.now,
        threshold=_finite(threshold),
        recent=points,
        band=_ranges(band),
        forecast=_ranges(forecast),
    )
    ctx.records.put(CURVES, curve)


def _ranges(points: Sequence[BandPoint]) -> tuple[tuple[int, float, float, float], ...]:
    rows = ((p.time_ms, p.mean, p.lower, p.upper) for p in _thinned(points))
    return tuple(row for row in rows if all(map(math.isfinite, row)))


def _thinned(points: Sequence[P]) -> Sequence[P]:
    """Choose at most ``MAX_POINTS`` points at even distances, the last among them."""
    step = -(-len(points) // MAX_POINTS) or 1
    return points[(len(points) - 1) % step :: step]


def _finite(number: float | None) -> float | None:
    """The number; None for infinity, which JSON, the form of stored records, does not have."""
    return number if number is not None and math.isfinite(number) else None
