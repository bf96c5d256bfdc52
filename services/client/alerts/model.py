"""The read model of alerts: queries, and deletion of what has expired."""

from __future__ import annotations

from collections.abc import Collection as AnyCollection
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict

from services.client.alerts.actions import ACTIONS, ActionView
from services.client.alerts.alerting import RULES, SHOWN, SILENCES, Alerting
from services.client.alerts.cases import CASES
from services.client.alerts.filters import Filter, Group, grouped
from services.client.alerts.handlers import MAX_EVENTS
from services.client.alerts.judgements import JUDGEMENTS, Judgements
from services.client.alerts.ledger import Ledger
from services.client.alerts.machines import GOES_ON, HEALTH, STOPPED, STOPS, Machines
from services.client.alerts.records import (
    ALERTS,
    CURVES,
    EPISODES,
    EVENTS,
    KEPT,
    OPEN_PREDICTION,
    OPEN_RANKS,
    OTHER,
    RANKS,
    RESOLVED,
    AlertEvent,
    AlertView,
    Curve,
    Episode,
)
from shared.changes import with_changes
from shared.contracts import ActionState, RuleState
from shared.store import Collection, Records, Store
from shared.time_zones import at_ms

MAX_KEPT: tuple[tuple[Collection[Any], tuple[str, ...] | None, int], ...] = (
    (ALERTS, (RESOLVED,), 20_000),
    (ALERTS, OPEN_RANKS, 20_000),
    (EVENTS, None, 100_000),
    (ACTIONS, None, 20_000),
    (EPISODES, (OPEN_PREDICTION,), 10_000),
    (EPISODES, (OTHER,), 40_000),
    (CURVES, None, 2_000),
    (CASES, None, 40_000),
    (RULES, SHOWN, 5_000),
    (RULES, (RuleState.RETIRED,), 5_000),
    (HEALTH, None, 20_000),
    (STOPS, (STOPPED,), 1_001),
    (STOPS, (GOES_ON,), 1_000),
    (JUDGEMENTS, None, 20_000),
)
"""The collections, each with a status or None and the number of its newest records that are
kept."""
MAX_SILENCES = 5_000
"""Those that end last are kept, so that ended ones push out none that is in force."""
_FORGOTTEN_AT_ONCE = 1_000
_MAX_EPISODES, _MAX_ACTIONS = 100, 20
_MAX_OF_A_HOST, _MAX_OF_HOSTS, _MAX_GROUPED = 200, 5_000, 2_000
_SLACK_MS = 300_000
"""A signal that ended this long before its alert's first change may still be its cause."""


class Incident(BaseModel):
    """Everything known about one alert."""

    model_config = ConfigDict(frozen=True)

    alert: AlertView
    events: tuple[AlertEvent, ...]
    episodes: tuple[Episode, ...]
    curve: Curve | None
    actions: tuple[ActionView, ...]
    """The actions, in the order in which they were planned."""


class AlertModel:
    """Alerts and forecasts in the client's own store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ledger = Ledger(store)
        self.alerting = Alerting(store)
        self.machines = Machines(store)
        self.judgements = Judgements(store)

    def alerts(self, wanted: Filter, limit: int, offset: int) -> list[AlertView]:
        """The alerts, the most urgent first; of the same urgency, the newest first."""
        with self._store.reading() as records:
            found = filter(wanted.matches, _ranked(records, wanted.ranks, wanted))
            return list(islice(found, offset, offset + limit))

    def groups(self, wanted: Filter, by: Literal["host", "item"]) -> tuple[list[Group], bool]:
        """The alerts by machine or item, the most urgent group first; and whether all are in."""
        may_match = wanted.may_match()
        with self._store.reading() as records:
            texts = chain.from_iterable(
                records.texts(ALERTS, rank, may_match, wanted.written) for rank in wanted.ranks
            )
            fitting = filter(wanted.fits, map(orjson.loads, texts))
            made = grouped(islice(fitting, _MAX_GROUPED), by)
            return made, next(fitting, None) is None

    def counts(self) -> dict[str, int]:
        """Return how many alerts there are of each rank."""
        with self._store.reading() as records:
            known = records.count(ALERTS)
        return {rank: known.get(rank, 0) for rank in RANKS}

    def unacknowledged(self, ranks: Sequence[str], limit: int) -> list[AlertView]:
        """Open alerts that nobody takes care of."""
        with self._store.reading() as records:
            found = (a for a in _ranked(records, ranks) if not a.acknowledged_by)
            return list(islice(found, limit))

    def forecasts(
        self, limit: int, offset: int = 0, before: datetime | None = None
    ) -> list[Episode]:
        """Open predictions, the earliest crossing first; those that come ``before`` a time."""
        with self._store.reading() as records:
            is_open = records.count(EPISODES).get(OPEN_PREDICTION, 0) if offset else 0
            if before is None and offset > is_open // 2:
                # They lie nearer to the end, and the database counts what it skips one by one.
                most, behind = min(limit, is_open - offset), max(0, is_open - offset - limit)
                found = records.find(
                    EPISODES,
                    status=OPEN_PREDICTION,
                    latest_first=True,
                    limit=max(0, most),
                    offset=behind,
                )
                return found[::-1]
            return records.find(
                EPISODES,
                status=OPEN_PREDICTION,
                due_before=before,
                soonest_first=True,
                limit=limit,
                offset=offset,
            )

    def wanted_forecasts(self, wanted: Filter, limit: int, offset: int) -> list[Episode]:
        """The open predictions that match, the earliest crossing first."""
        with self._store.reading() as records:
            texts = records.texts(EPISODES, OPEN_PREDICTION, wanted.may_match(), wanted.written)
            fitting = filter(wanted.fits, map(orjson.loads, texts))
            found = sorted(fitting, key=lambda each: at_ms(each["earliest_ms"] or 0))
            keys = [each["event_id"] for each in found[offset : offset + limit]]
            records.read_ahead(EPISODES, keys=keys)
            read = (records.get(EPISODES, key) for key in keys)
            return [each for each in read if each is not None]

    def planned(self, alert_ids: AnyCollection[str]) -> dict[str, ActionView]:
        """The newest action of each of these alerts that has one whose end is open."""
        with self._store.reading() as records:
            records.read_ahead(ACTIONS, groups=alert_ids)
            newest = {
                each: records.find(ACTIONS, group=each, newest_first=True, limit=1)
                for each in alert_ids
            }
        return {each: found[0] for each, found in newest.items() if found and not found[0].is_over}

    def open_forecasts(self) -> int:
        """Return how many open predictions there are."""
        with self._store.reading() as records:
            return records.count(EPISODES).get(OPEN_PREDICTION, 0)

    def proposed(self, now: datetime, limit: int) -> list[ActionView]:
        """Actions that a person is to decide on, the oldest first."""
        with self._store.reading() as records:
            found = records.find(ACTIONS, status=ActionState.PROPOSED, limit=10 * limit)
        return [action for action in found if action.awaits_decision(now)][:limit]

    def alerts_of(self, episodes: Sequence[Episode]) -> dict[str, str]:
        """The open alert of each of these predictions that has one, by the prediction's id."""
        hosts = {each.host for each in episodes}
        with self._store.reading() as records:
            known = records.of_groups(ALERTS, hosts, OPEN_RANKS, _MAX_OF_HOSTS)
        ids = {alert.series: alert.alert_id for alert in known}
        return {e.event_id: ids[e.series] for e in episodes if e.series in ids}

    def known(self, alert_ids: Sequence[str]) -> list[AlertView]:
        """The known ones among these alerts."""
        with self._store.reading() as records:
            found = [records.get(ALERTS, each) for each in dict.fromkeys(alert_ids)]
        return [alert for alert in found if alert is not None]

    def of_machines(
        self, hosts: Sequence[str], begin: datetime, end: datetime, limit: int
    ) -> list[AlertView]:
        """Alerts of these machines that were open within a time, the earliest first."""
        found: list[AlertView] = []
        with self._store.reading() as records:
            for host in hosts:
                known = records.find(ALERTS, group=host, newest_first=True, limit=_MAX_OF_A_HOST)
                found += [a for a in known if a.first_at <= end and (a.is_open or a.at >= begin)]
        return sorted(found, key=lambda a: a.first_at)[:limit]

    def forecasts_of(self, host: str, limit: int) -> list[Episode]:
        """The open predictions of a machine, the earliest crossing first."""
        with self._store.reading() as records:
            # They are grouped by their series, whose text begins with the machine's name.
            begun = records.groups_beginning(EPISODES, OPEN_PREDICTION, f"{host} ", _MAX_OF_A_HOST)
        found = [each for each in begun if each.host == host]
        return sorted(found, key=lambda each: each.due)[:limit]

    def alarmed(self) -> set[str]:
        """The machines that have open alerts."""
        with self._store.reading() as records:
            return records.groups(ALERTS, OPEN_RANKS)

    def open_of(self, host: str, limit: int) -> list[AlertView]:
        """The open alerts of a machine, the most urgent first."""
        with self._store.reading() as records:
            found = records.find(ALERTS, group=host, status=OPEN_RANKS, limit=_MAX_OF_A_HOST)
        return sorted(found, key=lambda alert: OPEN_RANKS.index(alert.rank))[:limit]

    def actions_of(self, alerts: Sequence[AlertView], limit: int) -> list[ActionView]:
        """The newest actions on these alerts."""
        with self._store.reading() as records:
            found = [
                action
                for alert in alerts
                for action in records.find(
                    ACTIONS, group=alert.alert_id, newest_first=True, limit=limit
                )
            ]
        return sorted(found, key=lambda action: action.at, reverse=True)[:limit]

    def incident(self, alert_id: str) -> Incident | None:
        """An alert with its history and signals; None for one that is not known."""
        with self._store.reading() as records:
            alert = records.get(ALERTS, alert_id)
            if alert is None:
                return None
            events = records.find(EVENTS, group=alert_id, limit=MAX_EVENTS)
            known = records.find(
                EPISODES, group=alert.series, limit=_MAX_EPISODES, newest_first=True
            )
            episodes = [e for e in known if _concerns(e, alert)]
            episodes.sort(
                key=lambda e: (e.revised_ms or e.opened_ms or 0, e.event_id), reverse=True
            )
            found = records.find(ACTIONS, group=alert_id, newest_first=True, limit=_MAX_ACTIONS)
            curves = [records.get(CURVES, e.event_id) for e in episodes]
        curve = _together([c for c in curves if c is not None and c.recent])
        return Incident(
            alert=alert, events=events, episodes=episodes, curve=curve, actions=found[::-1]
        )

    def curve(self, event_id: str) -> Curve | None:
        """The numbers of an episode's newest event, for a plot."""
        with self._store.reading() as records:
            return records.get(CURVES, event_id)

    def prune(self, now: datetime) -> None:
        """Forget what is older than its time, and the oldest of what is too many."""
        for collection in (ALERTS, EVENTS, CURVES, ACTIONS, CASES, RULES, STOPS, JUDGEMENTS):
            self._forget(collection, due_before=now)
        self._forget(EPISODES, status=OTHER, due_before=now)
        # A silence may end on the last day of the calendar, after which no time is.
        self._forget(SILENCES, due_before=now - KEPT)
        self._forget(HEALTH, due_before=now - KEPT)
        # An open prediction is due when it may come true, which is not its end.
        self._forget(EPISODES, status=OPEN_PREDICTION, due_before=now - KEPT)
        for collection, status, most in MAX_KEPT:
            self._forget(collection, status=status, newest_first=True, offset=most)
        self._forget_silences()
        self.ledger.prune()

    def _forget_silences(self) -> None:
        with self._store.transaction() as records:
            many = sum(records.count(SILENCES).values()) - MAX_SILENCES
            if many > 0:
                for each in records.find(SILENCES, soonest_first=True, limit=many):
                    records.delete(SILENCES, each.silence_id)

    def _forget(self, collection: Collection[Any], **which: Any) -> None:
        """Delete them in transactions of their own, so that messages are handled in between."""
        while True:
            with self._store.transaction() as records:
                found = records.find(collection, limit=_FORGOTTEN_AT_ONCE, **which)
                for each in found:
                    records.delete(collection, collection.key(each))
            if len(found) < _FORGOTTEN_AT_ONCE:
                return


def _ranked(
    records: Records, ranks: Sequence[str], wanted: Filter | None = None
) -> Iterator[AlertView]:
    wanted = wanted or Filter()
    may_match = wanted.may_match()
    for rank in ranks:
        yield from records.scan(ALERTS, rank, may_match, wanted.written)


def _concerns(episode: Episode, alert: AlertView) -> bool:
    """Return whether the episode lay within the alert's life; its series is the alert's."""
    first_ms = _milliseconds(alert.first_at) - _SLACK_MS
    if episode.ended_ms is not None and episode.ended_ms < first_ms:
        return False
    over = not alert.is_open
    began_ms = episode.opened_ms if episode.opened_ms is not None else episode.ended_ms
    return not over or (began_ms or 0) <= _milliseconds(alert.at)


def _together(curves: Sequence[Curve]) -> Curve | None:
    """The newest curve, with the newest band and the newest forecast: each has one of the two."""
    if not curves:
        return None
    band = next((c.band for c in curves if c.band), ())
    forecast = next((c.forecast for c in curves if c.forecast), ())
    return with_changes(curves[0], band=band, forecast=forecast)


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
