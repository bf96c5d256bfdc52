"""Reading what is kept of alerts, and forgetting it in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.client.alerts.actions import ACTIONS, OPEN, ActionView
from services.client.alerts.handlers import MAX_EVENTS
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
from shared.contracts import ActionState
from shared.contracts.alerts import AlertState
from shared.store import Collection, Records, Store

MAX_KEPT: tuple[tuple[Collection[Any], tuple[str, ...] | None, int], ...] = (
    (ALERTS, (RESOLVED,), 20_000),
    (ALERTS, OPEN_RANKS, 20_000),
    (EVENTS, None, 100_000),
    (ACTIONS, None, 20_000),
    (EPISODES, (OPEN_PREDICTION,), 10_000),
    (EPISODES, (OTHER,), 40_000),
    (CURVES, None, 2_000),
)
"""So many newest records of each collection and standing are kept, whatever a storm brings."""
_SEARCHED = ("series", "sentence", "outcome", "acknowledged_by")
_FORGOTTEN_AT_ONCE = 1_000
_MAX_EPISODES = 100
_MAX_OF_A_HOST = 200
_SLACK_MS = 300_000
"""A signal that ended this long before its alert's first change may still be its cause."""


class Filter(BaseModel):
    """Which alerts are wanted; empty fields want all."""

    model_config = ConfigDict(frozen=True)

    state: str = ""
    """A state, or ``open`` for those that are not resolved."""
    severity: str = ""
    host: str = ""
    item: str = ""
    search: str = ""

    @property
    def ranks(self) -> Sequence[str]:
        """The ranks that can hold such alerts."""
        ranks = [rank for rank in OPEN_RANKS if self.state in ("", "open", rank.split("-")[0])]
        if self.severity:
            ranks = [rank for rank in ranks if rank.endswith(f"-{self.severity}")]
        return [*ranks, *([RESOLVED] if self.state in ("", RESOLVED) else [])]

    def matches(self, alert: AlertView) -> bool:
        """Whether the alert is wanted; parts of names are enough, in any case of letters."""
        return self._fits(dict(alert))

    def _fits(self, alert: Mapping[str, Any]) -> bool:
        if self.severity and alert["severity"] != self.severity:
            return False
        searched = [alert[name] for name in _SEARCHED]
        wanted = ((self.host, [alert["host"]]), (self.item, [alert["item"]]))
        return all(
            any(part.casefold() in text.casefold() for text in texts)
            for part, texts in (*wanted, (self.search, searched))
        )

    def may_match(self) -> Callable[[str], bool]:
        """Whether an alert is wanted whose JSON is given: a model of each would take longest.

        Most are told by their text alone; what has the words in it may have them as a name of a
        field, so it is read.
        """
        parts = [json.dumps(part, ensure_ascii=False)[1:-1].casefold() for part in self._parts]

        def may(data: str) -> bool:
            folded = data.casefold()
            return all(part in folded for part in parts) and self._fits(json.loads(data))

        return may if parts else lambda _: True

    @property
    def _parts(self) -> list[str]:
        return [part for part in (self.host, self.item, self.search) if part]


class Incident(BaseModel):
    """All that is known of one alert."""

    model_config = ConfigDict(frozen=True)

    alert: AlertView
    events: tuple[AlertEvent, ...]
    episodes: tuple[Episode, ...]
    curve: Curve | None
    actions: tuple[ActionView, ...]
    """Those that are open."""


class AlertModel:
    """Alerts and forecasts in the client's own store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def alerts(self, wanted: Filter, limit: int, offset: int) -> list[AlertView]:
        """The most urgent first; of the same urgency, the newest first."""
        with self._store.reading() as records:
            ranked = _ranked(records, wanted.ranks, wanted.may_match())
            found = filter(wanted.matches, ranked)
            return list(islice(found, offset, offset + limit))

    def counts(self) -> dict[str, int]:
        """How many alerts there are of each rank."""
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
            return records.find(
                EPISODES,
                status=OPEN_PREDICTION,
                due_before=before,
                soonest_first=True,
                limit=limit,
                offset=offset,
            )

    def open_forecasts(self) -> int:
        """How many open predictions there are."""
        with self._store.reading() as records:
            return records.count(EPISODES).get(OPEN_PREDICTION, 0)

    def proposed(self, now: datetime, limit: int) -> list[ActionView]:
        """Actions that a person is to decide on, the oldest first."""
        with self._store.reading() as records:
            found = records.find(ACTIONS, status=ActionState.PROPOSED, limit=10 * limit)
        return [action for action in found if action.awaits_decision(now)][:limit]

    def known(self, alert_ids: Sequence[str]) -> list[AlertView]:
        """Those of these alerts that are known."""
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
                found += [a for a in known if a.first_at <= end and (_is_open(a) or a.at >= begin)]
        return sorted(found, key=lambda a: a.first_at)[:limit]

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
            found = records.find(ACTIONS, group=alert_id, status=OPEN, limit=_MAX_EPISODES)
            curves = [records.get(CURVES, e.event_id) for e in episodes]
        curve = _together([c for c in curves if c is not None and c.recent])
        return Incident(alert=alert, events=events, episodes=episodes, curve=curve, actions=found)

    def curve(self, event_id: str) -> Curve | None:
        """The numbers of an episode's newest event, for a plot."""
        with self._store.reading() as records:
            return records.get(CURVES, event_id)

    def prune(self, now: datetime) -> None:
        """Forget what is older than its time, and the oldest of what is too many."""
        for collection in (ALERTS, EVENTS, CURVES, ACTIONS):
            self._forget(collection, due_before=now)
        self._forget(EPISODES, status=OTHER, due_before=now)
        # An open prediction is due when it may come true, which is not its end.
        self._forget(EPISODES, status=OPEN_PREDICTION, due_before=now - KEPT)
        for collection, standing, most in MAX_KEPT:
            self._forget(collection, status=standing, newest_first=True, offset=most)

    def _forget(self, collection: Collection[Any], **which: Any) -> None:
        """In transactions of their own, so that messages are handled in between."""
        while True:
            with self._store.transaction() as records:
                found = records.find(collection, limit=_FORGOTTEN_AT_ONCE, **which)
                for each in found:
                    records.delete(collection, collection.key(each))
            if len(found) < _FORGOTTEN_AT_ONCE:
                return


def _is_open(alert: AlertView) -> bool:
    return alert.state is not AlertState.RESOLVED


def _ranked(
    records: Records, ranks: Sequence[str], may_match: Callable[[str], bool] = lambda _: True
) -> Iterator[AlertView]:
    for rank in ranks:
        yield from records.scan(ALERTS, rank, may_match)


def _concerns(episode: Episode, alert: AlertView) -> bool:
    """Whether the episode lay within the alert's life; its series is the alert's."""
    first_ms = _milliseconds(alert.first_at) - _SLACK_MS
    if episode.ended_ms is not None and episode.ended_ms < first_ms:
        return False
    over = not _is_open(alert)
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
