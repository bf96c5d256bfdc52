"""Silences and correlation rules, as the healer's events say, and the age of what is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.client.alerts.machines import STOPPED, STOPS
from services.client.alerts.records import KEPT
from shared.contracts import (
    AlertingAsk,
    AlertingReported,
    CorrelationChanged,
    Message,
    RuleState,
    SilenceChanged,
)
from shared.contracts.alerting import digest_of
from shared.newest import is_overtaken
from shared.service import Context
from shared.store import Collection, Records, Store

SHOWN = tuple(state.value for state in RuleState if state is not RuleState.RETIRED)
"""The states of the rules that the healer has."""
_ASKED_AGAIN = timedelta(minutes=10)
_SILENT = timedelta(minutes=3)
"""The healer reports once a minute; after this time without a report what is known may be old."""
T = TypeVar("T", SilenceChanged, CorrelationChanged)
R = TypeVar("R", bound=BaseModel)


class Report(BaseModel):
    """The healer's last report, and when everything was asked for last."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    muted: int
    asked_at: AwareDatetime | None = None
    differs: bool = False
    """Since everything was asked for last, what is known has been another at each report."""

    def is_old(self, now: datetime) -> bool:
        """Return whether the healer has been silent for longer than it should be."""
        return now - self.at > _SILENT


SILENCES = Collection(
    "client-silences",
    SilenceChanged,
    key=lambda each: each.silence_id,
    due=lambda each: each.ends_at,
)
RULES = Collection(
    "client-rules",
    CorrelationChanged,
    key=lambda each: each.rule_id,
    status=lambda each: each.state.value,
    due=lambda each: each.at + KEPT if each.state is RuleState.RETIRED else None,
)
REPORTS = Collection("client-alerting", Report, key=lambda _: "last")


def silence_changed(event: SilenceChanged, ctx: Context) -> tuple[()]:
    """Keep the silence's newest change; late and repeated ones change nothing."""
    _keep(SILENCES, event.silence_id, event, ctx.records)
    return ()


def correlation_changed(event: CorrelationChanged, ctx: Context) -> tuple[()]:
    """Keep the rule's newest change, likewise."""
    _keep(RULES, event.rule_id, event, ctx.records)
    return ()


def alerting_reported(event: AlertingReported, ctx: Context) -> tuple[Message, ...]:
    """Note that the healer works; ask for everything if something of it was missed.

    So a new or restored database is filled, and so is one whose queue was purged. If that did not
    help, the healer's own database was restored: what it does not know any more is forgotten.
    """
    known = ctx.records.get(REPORTS, "last")
    if known is not None and (event.at == known.at or is_overtaken(event.at, known.at, ctx.now)):
        return ()
    asked_at = known.asked_at if known else None
    # The health of machines is not in the digest: each is reported every quarter of an hour.
    differs = known is None or event.digest != _digest(ctx.records, event.at)
    asks = differs and (asked_at is None or abs(ctx.now - asked_at) >= _ASKED_AGAIN)
    if asks and known is not None and known.differs:
        _forget_all(ctx.records)
    report = Report(
        at=event.at,
        muted=event.muted,
        asked_at=ctx.now if asks else asked_at,
        differs=differs and (asks or (known is not None and known.differs)),
    )
    ctx.records.put(REPORTS, report)
    return (AlertingAsk(at=ctx.now),) if asks else ()


def _forget_all(records: Records) -> None:
    """Silences, rules and stops; the answer to the question brings those that there are."""
    _forget(records, SILENCES)
    _forget(records, RULES)
    _forget(records, STOPS)


def _forget(records: Records, collection: Collection[R]) -> None:
    for each in records.find(collection):
        records.delete(collection, collection.key(each))


def _keep(collection: Collection[T], key: str, event: T, records: Records) -> None:
    known = records.get(collection, key)
    if known is None or known.sequence < event.sequence:
        records.put(collection, event)


def _digest(records: Records, at: datetime) -> str:
    silences = (each for each in records.find(SILENCES) if each.ends_at > at)
    known = [(each.silence_id, each.sequence) for each in silences]
    known += [(each.rule_id, each.sequence) for each in records.find(RULES, status=SHOWN)]
    return digest_of(known, (each.hosts for each in records.find(STOPS, status=STOPPED)))


class Alerting:
    """Silences and rules in the client's own store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def silences(self) -> list[SilenceChanged]:
        """The silences in force, those to come, and those that ended within ``KEPT``."""
        with self._store.reading() as records:
            return records.find(SILENCES)

    def rules(self) -> list[CorrelationChanged]:
        """All rules that are known."""
        with self._store.reading() as records:
            return records.find(RULES)

    def report(self) -> Report | None:
        """The healer's last report, None before the first."""
        with self._store.reading() as records:
            return records.get(REPORTS, "last")

    def take(self, change: SilenceChanged) -> None:
        """Show a silence at once that a person made or ended here; its event comes as well."""
        with self._store.transaction() as records:
            _keep(SILENCES, change.silence_id, change, records)
