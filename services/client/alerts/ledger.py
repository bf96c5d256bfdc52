"""The ledger: how predictions turned out and what actions achieved, by item and week."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.client.alerts.cases import (
    CASES,
    COUNTED_ITEMS,
    Case,
    Outcome,
    digest_of,
    read_status,
)
from services.client.alerts.records import ALERTS, EPISODES, AlertView, Episode
from shared.contracts import ForecastScore
from shared.store import Store
from shared.weeks import week_name

_MAX_OF_A_HOST, _SLACK_S = 200, 3600.0
"""An outcome may be known an hour before or after its alert's changes."""


@dataclass
class Line:
    """The counts of one item, in one week or in total."""

    item: str
    week: str
    """The week as ISO 8601 writes it; '' for all weeks."""
    counts: Counter[Outcome] = field(default_factory=Counter)
    judged: int = 0
    inside: int = 0
    chances: int = 0
    squares: float = 0.0

    @property
    def accuracy(self) -> float | None:
        """The share of predictions that came true, of those that did or were false."""
        hits = self.counts[Outcome.HIT]
        return _share(hits, hits + self.counts[Outcome.FALSE])

    @property
    def brier(self) -> float | None:
        """The mean squared error of the probabilities of an alarm; 0 is best."""
        return _share(self.squares, self.chances)

    @property
    def coverage(self) -> float | None:
        """The share of values within the 95 % interval that was forecast for them."""
        return _share(self.inside, self.judged)

    def count(self, score: ForecastScore | Line) -> None:
        """Add what a partition's forecasts achieved, or those of another line."""
        self.judged += score.judged
        self.inside += score.inside
        self.chances += score.chances
        self.squares += score.squares


@dataclass(frozen=True)
class Wanted:
    """A selection of cases by outcome and, optionally, item and week."""

    outcome: Outcome
    item: str = ""
    week: int | None = None

    def counts(self, status: str) -> bool:
        """Return whether cases of this status are wanted."""
        digest, week, outcome = read_status(status)
        return (
            outcome is self.outcome
            and (not self.item or digest == digest_of(self.item))
            and (self.week is None or week == self.week)
        )


@dataclass(frozen=True)
class ListedCase:
    """A case with its prediction and its alert, where they are known."""

    case: Case
    prediction: Episode | None
    alert_id: str

    @property
    def at(self) -> datetime:
        """The time of the outcome; the time of its receipt, if no calendar has the former."""
        try:
            return datetime.fromtimestamp(self.case.time_ms / 1000, UTC)
        except (OverflowError, ValueError, OSError):
            return self.case.received_at


class Ledger:
    """Counts the cases in the client's own store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def counts(self) -> dict[tuple[str, str], Counter[Outcome]]:
        """Return how many cases there are, by item and week."""
        with self._store.reading() as records:
            names = {digest_of(known.item): known.item for known in records.find(COUNTED_ITEMS)}
            counted = records.count(CASES)
        found: dict[tuple[str, str], Counter[Outcome]] = {}
        for status, number in counted.items():
            digest, week, outcome = read_status(status)
            place = names[digest], week_name(week)
            found.setdefault(place, Counter())[outcome] += number
        return found

    def prune(self) -> None:
        """Forget the items that have no case any more: senders choose their names."""
        with self._store.transaction() as records:
            counted = {read_status(status)[0] for status in records.count(CASES)}
            for known in records.find(COUNTED_ITEMS):
                if digest_of(known.item) not in counted:
                    records.delete(COUNTED_ITEMS, digest_of(known.item))

    def cases(self, wanted: Wanted, limit: int, offset: int) -> list[ListedCase]:
        """The cases that one number counts, the newest first, with what is known of each."""
        with self._store.reading() as records:
            counted = [each for each in records.count(CASES) if wanted.counts(each)]
            found = records.find(
                CASES, status=counted, newest_first=True, limit=limit, offset=offset
            )
            predictions = [records.get(EPISODES, case.case_id) for case in found]
            hosts = {case.host for case in found if not case.alert_id}
            alerts = {
                host: records.find(ALERTS, group=host, newest_first=True, limit=_MAX_OF_A_HOST)
                for host in hosts
            }
        return [
            ListedCase(case, prediction, case.alert_id or _alert_of(case, alerts[case.host]))
            for case, prediction in zip(found, predictions, strict=True)
        ]


def _alert_of(case: Case, alerts: Iterable[AlertView]) -> str:
    """The alert of the case's series that was open then; '' for one that is no longer known."""
    at = case.time_ms / 1000
    for alert in alerts:
        ended = not alert.is_open and alert.at.timestamp() < at - _SLACK_S
        if alert.series == case.series and alert.first_at.timestamp() <= at + _SLACK_S:
            return "" if ended else alert.alert_id
    return ""


def lines(
    counts: Mapping[tuple[str, str], Counter[Outcome]], scores: Iterable[ForecastScore]
) -> list[Line]:
    """A line for each item and week: by item, the newest week first."""
    found = {place: Line(*place, counts=Counter(each)) for place, each in counts.items()}
    for score in scores:
        place = score.item, score.week
        found.setdefault(place, Line(*place)).count(score)
    by_week = sorted(found.values(), key=lambda line: line.week, reverse=True)
    return sorted(by_week, key=lambda line: line.item)


def by_item(of_weeks: Iterable[Line]) -> list[Line]:
    """The lines of each item added up."""
    totals: dict[str, Line] = {}
    for line in of_weeks:
        total = totals.setdefault(line.item, Line(line.item, ""))
        total.counts.update(line.counts)
        total.count(line)
    return list(totals.values())


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
