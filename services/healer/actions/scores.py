"""The ledger: the success of predictions and actions by item, counted once per message.

Its measures are accuracy, reduction and missed alarms.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, computed_field

from services.healer.model.canary import about_canary
from services.healer.model.incident import Incident
from shared.changes import with_changes
from shared.contracts import AlarmPredicted, AnomalyDetected, PredictionWithdrawn
from shared.contracts.alerts import AlertState, SeriesRef
from shared.service import Context
from shared.store import Collection

_FIELDS = {
    "came_true": "came_true",
    "did_not_come": "false",
    "averted": "averted",
    "series_ended": "ended",
}


class Score(BaseModel):
    """One item's predictions, alarms and savings."""

    model_config = ConfigDict(frozen=True)

    item: str
    predicted: int = 0
    came_true: int = 0
    false: int = 0
    """Predicted alarms that did not come."""
    averted: int = 0
    """Predictions that ended because the value fell at once."""
    ended: int = 0
    """Predictions whose series ended, so that their outcome is unknown."""
    saved: int = 0
    """Predicted alarms that never fired because a remediation was verified."""
    alarms: int = 0
    """Times the item went beyond its threshold."""
    missed: int = 0
    """The number of these for which no prediction was open."""
    counted_at: AwareDatetime | None = None
    """The time of its last change; None for one of an earlier version."""

    @computed_field
    @property
    def accuracy(self) -> float | None:
        """The share of predicted alarms that came true; None before the first verdict."""
        return _share(self.came_true, self.came_true + self.false)

    @computed_field
    @property
    def reduction(self) -> float | None:
        """The share of averted alarms among those that fired or would have; None before any."""
        return _share(self.saved, self.saved + self.alarms)

    @computed_field
    @property
    def missed_rate(self) -> float | None:
        """The share of missed alarms; None before the first alarm."""
        return _share(self.missed, self.alarms)


_KEPT = timedelta(days=400)
MAX_SCORES = 5_000
"""The largest number of items with scores, because senders choose the names; the least recently
counted one is deleted."""
SCORES = Collection(
    "scores",
    Score,
    key=lambda score: score.item,
    due=lambda score: score.counted_at and score.counted_at + _KEPT,
)


def predicted(message: AlarmPredicted, ctx: Context) -> None:
    """Count a new prediction; its later revisions do not count."""
    if message.revision == 1:
        _count(message.series, ctx, "predicted")


def withdrawn(message: PredictionWithdrawn, ctx: Context) -> None:
    """Count the outcome of a prediction."""
    _count(message.series, ctx, _FIELDS[message.outcome])


def alarmed(message: AnomalyDetected, before: Incident | None, ctx: Context) -> None:
    """Count an alarm, predicted or not; other anomalies are not alarms.

    ``before``: the series' open incident, if there is one.
    """
    beyond = any(v.detector == "threshold" and v.anomalous for v in message.votes)
    if not beyond or about_canary(message.series):
        return
    foreseen = before is not None and any(
        s.state is AlertState.PREDICTED or s.until is not None for s in before.signals.values()
    )
    _count(message.series, ctx, "alarms", *([] if foreseen else ["missed"]))


def saved(series: SeriesRef, ctx: Context) -> None:
    """Count an alarm that a verified remediation averted."""
    _count(series, ctx, "saved")


def _count(series: SeriesRef, ctx: Context, *fields: str) -> None:
    old = ctx.records.get(SCORES, series.item) or Score(item=series.item)
    update = {name: getattr(old, name) + 1 for name in fields}
    ctx.records.put(SCORES, with_changes(old, **update, counted_at=ctx.now))


def forget(ctx: Context) -> None:
    """Delete the scores that were not counted for more than a year, or are too many."""
    excess = sum(ctx.records.count(SCORES).values()) - MAX_SCORES
    many = ctx.records.find(SCORES, soonest_first=True, limit=excess) if excess > 0 else []
    for score in [*ctx.records.find(SCORES, due_before=ctx.now), *many]:
        ctx.records.delete(SCORES, score.item)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
