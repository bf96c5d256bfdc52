"""The effects of a remediation, ours or a person's, on the monitored series itself.

Such an effect is neither an alarm nor a prediction: people know of it, or caused it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from services.healer.model.healing import HEALINGS, Healing
from services.healer.model.incident import Incident
from services.healer.model.notification import series_key
from services.healer.model.transitions import Phase
from shared.contracts import AlarmPredicted, AnomalyDetected
from shared.contracts.alerts import Direction, SeriesRef
from shared.items import ITEMS, Behaviour
from shared.service import Context

_NOTICED_MS = 600_000
"""The time within which a detector may report the effect of a remediation."""
_KEPT = timedelta(days=1)


def healed(series: SeriesRef, time_ms: int, ctx: Context) -> None:
    """Record that the series shows the effect of a remediation from ``time_ms`` on."""
    key = series_key(series)
    before = ctx.records.get(HEALINGS, key)
    if before is None or before.time_ms < time_ms:
        ctx.records.put(HEALINGS, Healing(key=key, time_ms=time_ms, due=ctx.now + _KEPT))


def is_stale(message: AlarmPredicted, ctx: Context) -> bool:
    """Return whether a prediction is outdated: its time has come, or it precedes a remediation."""
    if message.crossing_ms <= ctx.now.timestamp() * 1000:
        return True
    healing = ctx.records.get(HEALINGS, series_key(message.series))
    return healing is not None and message.time_ms <= healing.time_ms


def is_relief(message: AnomalyDetected, past: Sequence[Incident], ctx: Context) -> bool:
    """Return whether the series moved away from its alarm because of a remediation.

    A stable item, like the used share of a disk, does so by nothing else. Any other one counts as
    healed while it has an incident, or soon after one or after a healing.

    Args:
        message: what was seen.
        past: the series' incidents, newest first.
        ctx: the time and the records.
    """
    item = ITEMS.get(message.series.item)
    if item is None or not _moves_away(message, above=item.above):
        return False
    if item.behaviour is Behaviour.STABLE:
        healed(message.series, message.time_ms, ctx)
        return True
    healing = ctx.records.get(HEALINGS, series_key(message.series))
    if healing is not None and abs(message.time_ms - healing.time_ms) < _NOTICED_MS:
        return True
    last = next(iter(past), None)
    return last is not None and (last.phase is not Phase.CLOSED or _just_ended(last, ctx))


def _moves_away(message: AnomalyDetected, *, above: bool) -> bool:
    """Return whether it is within the threshold, and was nearer to it before."""
    limit = message.threshold
    sign = 1 if above else -1
    if limit is None or sign * message.value >= sign * limit:
        return False
    before = [point.value for point in message.recent if point.time_ms < message.time_ms]
    if before:
        return sign * message.value < sign * median(before)
    return message.direction is (Direction.DROP if above else Direction.SPIKE)


def _just_ended(incident: Incident, ctx: Context) -> bool:
    ended = incident.closed_at
    return ended is not None and (ctx.now - ended).total_seconds() * 1000 < _NOTICED_MS
