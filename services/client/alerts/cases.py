"""The ledger's cases: every prediction, alarm and action with a known outcome."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from hashlib import blake2b

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.client.alerts.records import EPISODES, Episode
from shared.changes import with_changes
from shared.contracts import AnomalyDetected, RemediationVerified
from shared.items import CANARY
from shared.service import Context
from shared.store import Collection
from shared.weeks import KEPT_WEEKS, week_name, week_of

_LATE_MS = 3_600_000
"""An alarm is seen at once, but counted as come true after its hour or before it is confirmed."""
_MAX_OF_A_SERIES = 100


class Outcome(StrEnum):
    """The outcome of a prediction, an alarm or an action."""

    HIT = "hit"
    FALSE = "false"
    AVERTED = "averted"
    MISSED = "missed"
    """An alarm that no prediction announced."""
    ANNOUNCED = "announced"
    """An alarm that one did, which the prediction's own case counts."""
    SAVED = "saved"
    """An action after which a predicted alarm never fired."""
    REPAIRED = "repaired"
    """An action that ended an alarm."""
    FAILED = "failed"
    """An action that did not help."""


OF_PREDICTIONS = (Outcome.HIT, Outcome.FALSE, Outcome.AVERTED, Outcome.MISSED)
OF_ACTIONS = (Outcome.SAVED, Outcome.REPAIRED, Outcome.FAILED)
_OUTCOMES = {
    "came_true": Outcome.HIT,
    "did_not_come": Outcome.FALSE,
    "averted": Outcome.AVERTED,
}
"""The words of ``prediction.withdrawn``."""


class Case(BaseModel):
    """A case of the ledger in a list."""

    model_config = ConfigDict(frozen=True)

    case_id: str
    outcome: Outcome
    week: int
    host: str
    item: str
    labels: str
    series: str
    time_ms: int
    """The time at which the outcome was known."""
    received_at: AwareDatetime
    text: str = ""
    """The remediation of an action."""
    alert_id: str = ""

    @property
    def status(self) -> str:
        """The number on the page that counts it."""
        return status_of(self.item, self.week, self.outcome)


class CountedItem(BaseModel):
    """An item that has cases."""

    model_config = ConfigDict(frozen=True)

    item: str


def digest_of(item: str) -> str:
    """A short name of an item, which itself may be too long for a status."""
    return blake2b(item.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def status_of(item: str, week: int, outcome: Outcome) -> str:
    """The status of the cases that one number counts."""
    return f"{digest_of(item)} {week} {outcome}"


def read_status(status: str) -> tuple[str, int, Outcome]:
    """The item's digest, the week and the outcome that ``status_of`` has put together."""
    digest, week, outcome = status.split(" ")
    return digest, int(week), Outcome(outcome)


CASES = Collection(
    "client-ledger-cases",
    Case,
    key=lambda case: case.case_id,
    group=lambda case: case.series,
    status=lambda case: case.status,
    due=lambda case: case.received_at + timedelta(weeks=KEPT_WEEKS),
)
COUNTED_ITEMS = Collection(
    "client-ledger-items", CountedItem, key=lambda known: digest_of(known.item)
)


def prediction_ended(episode: Episode, ctx: Context) -> None:
    """Enter a prediction's outcome."""
    if episode.outcome in _OUTCOMES and episode.ended_ms is not None:
        outcome = _OUTCOMES[episode.outcome]
        _enter(episode, episode.event_id, outcome, episode.ended_ms, ctx)
    prediction_changed(episode.series, ctx)


def alarm_came(episode: Episode, event: AnomalyDetected, ctx: Context) -> None:
    """Enter an alarm; an anomaly within its threshold is none."""
    beyond = any(vote.detector == "threshold" and vote.anomalous for vote in event.votes)
    if beyond and event.series.item != CANARY:
        _enter(episode, episode.event_id, Outcome.MISSED, event.time_ms, ctx)
        prediction_changed(episode.series, ctx)


def prediction_changed(series: str, ctx: Context) -> None:
    """Mark the predicted alarms of a series; predictions may be received after them."""
    known = ctx.records.find(EPISODES, group=series, newest_first=True, limit=_MAX_OF_A_SERIES)
    predictions = [each for each in known if each.kind == "prediction"]
    entered = ctx.records.find(CASES, group=series, newest_first=True, limit=_MAX_OF_A_SERIES)
    for case in entered:
        if case.outcome in (Outcome.MISSED, Outcome.ANNOUNCED):
            announced = any(_announced(each, case.time_ms) for each in predictions)
            outcome = Outcome.ANNOUNCED if announced else Outcome.MISSED
            if outcome is not case.outcome:
                ctx.records.put(CASES, with_changes(case, outcome=outcome))


def action_verified(event: RemediationVerified, labels: str, ctx: Context) -> None:
    """Enter what an action achieved."""
    outcome = Outcome.REPAIRED if event.effective else Outcome.FAILED
    named = Episode(
        event_id=event.command_id,
        kind="anomaly",
        series=event.series.text(),
        host=event.series.host,
        item=event.series.item,
        labels=labels,
        received_at=ctx.now,
    )
    _enter(
        named,
        f"action {event.command_id}",
        Outcome.SAVED if event.saved else outcome,
        round(event.at.timestamp() * 1000),
        ctx,
        text=event.remediation,
        alert_id=event.incident_id,
    )


def _announced(prediction: Episode, time_ms: int) -> bool:
    """Return whether the prediction said before that time that an alarm would come."""
    if prediction.opened_ms is None:
        return False
    late = _LATE_MS if prediction.outcome == "came_true" else 0
    ended = prediction.ended_ms is not None and prediction.ended_ms + late < time_ms
    return prediction.opened_ms <= time_ms and not ended


def _enter(
    of: Episode, case_id: str, outcome: Outcome, time_ms: int, ctx: Context, **more: str
) -> None:
    week = week_of(time_ms)
    try:
        week_name(week)
    except OverflowError:  # senders choose the times, and calendars end
        week = week_of(round(ctx.now.timestamp() * 1000))
    case = Case(
        case_id=case_id,
        outcome=outcome,
        week=week,
        host=of.host,
        item=of.item,
        labels=of.labels,
        series=of.series,
        time_ms=time_ms,
        received_at=ctx.now,
        **more,
    )
    ctx.records.put(CASES, case)
    if ctx.records.get(COUNTED_ITEMS, digest_of(of.item)) is None:
        ctx.records.put(COUNTED_ITEMS, CountedItem(item=of.item))
