"""The success of predicting and acting, by item: counted once a message, whoever repeats it.

The three measures of effect are accuracy, reduction and, beside them, the alarms nobody foresaw.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field

from services.healer.model.canary import about_canary
from services.healer.model.incident import Incident
from shared.changes import with_changes
from shared.contracts import AlarmPredicted, AnomalyDetected, PredictionWithdrawn
from shared.contracts.alerts import AlertState, SeriesRef
from shared.service import Context
from shared.store import Collection

_FIELDS = {"came_true": "came_true", "did_not_come": "false", "averted": "averted"}


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
    saved: int = 0
    """Predicted alarms that never fired because a remediation was verified."""
    alarms: int = 0
    """Times the item went beyond its threshold."""
    missed: int = 0
    """The number of these for which no prediction was open."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def accuracy(self) -> float | None:
        """Predicted alarms that came true; None before the first verdict."""
        return _share(self.came_true, self.came_true + self.false)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reduction(self) -> float | None:
        """Saved alarms, of those that fired or would have; None before any."""
        return _share(self.saved, self.saved + self.alarms)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def missed_rate(self) -> float | None:
        """Alarms nobody foresaw; None before the first alarm."""
        return _share(self.missed, self.alarms)


SCORES = Collection("scores", Score, key=lambda score: score.item)


def predicted(message: AlarmPredicted, ctx: Context) -> None:
    """A prediction opens; what it is corrected to later is the same one."""
    if message.revision == 1:
        _count(message.series, ctx, "predicted")


def withdrawn(message: PredictionWithdrawn, ctx: Context) -> None:
    """A prediction has its outcome."""
    _count(message.series, ctx, _FIELDS[message.outcome])


def alarmed(message: AnomalyDetected, before: Incident | None, ctx: Context) -> None:
    """An item went beyond its threshold, foreseen or not; other anomalies are no alarms.

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
    """A remediation was verified before the predicted alarm fired."""
    _count(series, ctx, "saved")


def _count(series: SeriesRef, ctx: Context, *fields: str) -> None:
    old = ctx.records.get(SCORES, series.item) or Score(item=series.item)
    update = {name: getattr(old, name) + 1 for name in fields}
    ctx.records.put(SCORES, with_changes(old, **update))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
