"""People's judgements of alarms, as the healer's events say: "not an anomaly", and its undoing."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.client.alerts.records import KEPT, AlertView, labels_of
from shared.contracts import AnomalyJudge, AnomalyJudged
from shared.contracts.alerts import Direction
from shared.service import Context
from shared.store import Collection, Store

IN_FORCE, UNDONE = "in force", "undone"


class Judgement(BaseModel):
    """The newest judgement of one alert."""

    model_config = ConfigDict(frozen=True)

    alert_id: str
    host: str
    item: str
    labels: str
    value: float | None
    above: bool | None
    """True if values up to the judged one are normal, False if those down to it are.

    None until the healer has said which.
    """
    by: str
    reason: str
    at: AwareDatetime
    anomaly: bool

    @property
    def status(self) -> str:
        """Return whether the detector's limit stands where this judgement put it."""
        return UNDONE if self.anomaly else IN_FORCE


JUDGEMENTS = Collection(
    "client-judgements",
    Judgement,
    key=lambda each: each.alert_id,
    status=lambda each: each.status,
    due=lambda each: each.at + KEPT,
)


def anomaly_judged(event: AnomalyJudged, ctx: Context) -> tuple[()]:
    """Keep the newest judgement of the alert; healers of before do not name it."""
    if event.alert_id is None:
        return ()
    known = ctx.records.get(JUDGEMENTS, event.alert_id)
    # Of what was shown at once, the healer has the last word: the two clocks may differ.
    if known is None or known.above is None or known.at < event.at:
        series = event.series
        judgement = Judgement(
            alert_id=event.alert_id,
            host=series.host,
            item=series.item,
            labels=labels_of(series),
            value=event.value,
            above=event.direction is not Direction.DROP,
            by=event.by,
            reason=event.reason,
            at=event.at,
            anomaly=event.anomaly,
        )
        ctx.records.put(JUDGEMENTS, judgement)
    return ()


class Judgements:
    """The judgements in the client's own store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, alert_id: str) -> Judgement | None:
        """The alert's newest judgement."""
        with self._store.reading() as records:
            return records.get(JUDGEMENTS, alert_id)

    def take(self, alert: AlertView, said: AnomalyJudge) -> None:
        """Show at once what a person judged here; the healer's event comes as well."""
        judgement = Judgement(
            alert_id=alert.alert_id,
            host=alert.host,
            item=alert.item,
            labels=alert.labels,
            value=alert.value,
            above=None,
            by=said.by,
            reason=said.reason,
            at=said.at,
            anomaly=said.anomaly,
        )
        with self._store.transaction() as records:
            known = records.get(JUDGEMENTS, alert.alert_id)
            if known is None or known.at < said.at:
                records.put(JUDGEMENTS, judgement)

    def in_force(self) -> list[Judgement]:
        """Those that were not undone, the newest first."""
        with self._store.reading() as records:
            found = records.find(JUDGEMENTS, status=IN_FORCE)
        return sorted(found, key=lambda each: each.at, reverse=True)
