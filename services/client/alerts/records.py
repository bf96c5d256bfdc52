"""The records of alerts: their latest state, their history, and the signals of their series."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts.alerts import AlertState, ClearedReason, SeriesRef, Severity
from shared.store import Collection
from shared.time_zones import at_ms

KEPT = timedelta(days=30)
"""The time for which an ended alert, its history and its series' signals are kept."""
RESOLVED = "resolved"
SERIES_ENDED = ClearedReason.SERIES_ENDED.value
"""The outcome of an anomaly whose series sends nothing any more."""
OPEN_RANKS = tuple(
    f"{state}-{severity}"
    for severity in (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
    for state in (AlertState.FIRING, AlertState.PREDICTED)
)
"""Open alerts' ranks, the most urgent first."""
RANKS = (*OPEN_RANKS, RESOLVED)
OPEN_PREDICTION, OTHER = "open", "other"


def labels_of(series: SeriesRef) -> str:
    """A series' labels as the pages show them and as records are searched."""
    return ", ".join(f"{name}={value}" for name, value in sorted(series.labels.items()))


_VERBS = ("is ", "has ", "will ", "was ")
"""The words that follow the name in a sentence about a series."""


def without_name(sentence: str, series: str) -> str:
    """A detector's sentence on a page that names the series already."""
    text = sentence.removeprefix(series).removeprefix(":").strip()
    if not text:
        return sentence
    return f"It {text}" if text.startswith(_VERBS) else text


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class AlertView(_Frozen):
    """An alert by its newest change, whose ``sequence`` it has."""

    alert_id: str
    sequence: int
    state: AlertState
    severity: Severity
    family: str
    host: str
    item: str
    labels: str
    """``name=value`` pairs with commas; '' for none."""
    series: str
    """The series' canonical text, by which its signals are found."""
    value: float | None
    threshold: float | None
    crossing_ms: int | None
    sentence: str
    handling: str
    acknowledged_by: str
    outcome: str
    first_at: AwareDatetime
    """The time of the alert's earliest received change."""
    at: AwareDatetime

    @property
    def reason(self) -> str:
        """The sentence, without the series' name that detectors put before it."""
        return without_name(self.sentence, self.series)

    @property
    def is_open(self) -> bool:
        """True if it has not ended."""
        return self.state is not AlertState.RESOLVED

    @property
    def rank(self) -> str:
        """Return how urgent it is; one of ``RANKS``."""
        return f"{self.state}-{self.severity}" if self.is_open else RESOLVED


class AlertEvent(_Frozen):
    """A line of an alert's history; ``id`` names it within the alert, so that it is kept once."""

    alert_id: str
    id: str
    at: AwareDatetime
    kind: str
    text: str
    by: str = ""
    order: int = 0
    """The order of things that happened at the same time: a cause before what follows from it."""
    sequence: int = 0


class Episode(_Frozen):
    """An anomaly or a prediction of a series, from its first event to its last."""

    event_id: str
    kind: Literal["anomaly", "prediction"]
    series: str
    host: str
    item: str
    labels: str
    received_at: AwareDatetime
    """The time at which the client first received an event about it."""
    revision: int = 0
    """The time of the newest event that opened or revised it; 0 if only its end was received."""
    opened_ms: int | None = None
    revised_ms: int | None = None
    ended_ms: int | None = None
    outcome: str = ""
    value: float | None = None
    end_value: float | None = None
    threshold: float | None = None
    sentence: str = ""
    above: bool = True
    crossing_ms: int | None = None
    earliest_ms: int | None = None
    latest_ms: int | None = None
    probability: float | None = None

    @property
    def reason(self) -> str:
        """The sentence, without the series' name before it."""
        return without_name(self.sentence, self.series)

    @property
    def due(self) -> datetime:
        """The earliest time at which an open prediction may come true."""
        return at_ms(self.earliest_ms or 0)

    @property
    def status(self) -> str:
        """``open`` for a prediction that was not withdrawn, the only ones that are listed."""
        is_open = self.kind == "prediction" and self.revision and self.ended_ms is None
        return OPEN_PREDICTION if is_open else OTHER


class Curve(_Frozen):
    """The numbers of an episode's newest event, for a plot; at most ``MAX_POINTS`` of each."""

    event_id: str
    received_at: AwareDatetime
    threshold: float | None
    recent: tuple[tuple[int, float], ...]
    band: tuple[tuple[int, float, float, float], ...]
    """Time, mean, lower and upper bound: the normal band."""
    forecast: tuple[tuple[int, float, float, float], ...]


def _end_of(alert: AlertView) -> datetime | None:
    # An open alert is kept however old it is, because it is not published again.
    return None if alert.is_open else alert.at + KEPT


def _due(episode: Episode) -> datetime:
    """Return the earliest time of an open prediction, by which they are listed, or its end."""
    if episode.status != OPEN_PREDICTION:
        return episode.received_at + KEPT
    return episode.due


ALERTS = Collection(
    "client-alerts",
    AlertView,
    key=lambda a: a.alert_id,
    group=lambda a: a.host,
    status=lambda a: a.rank,
    due=_end_of,
)
EVENTS = Collection(
    "client-alert-events",
    AlertEvent,
    key=lambda e: f"{e.alert_id}/{e.id}",
    group=lambda e: e.alert_id,
    due=lambda e: e.at + KEPT,
)
EPISODES = Collection(
    "client-episodes",
    Episode,
    key=lambda e: e.event_id,
    group=lambda e: e.series,
    status=lambda e: e.status,
    due=_due,
)
CURVES = Collection(
    "client-curves",
    Curve,
    key=lambda c: c.event_id,
    due=lambda c: c.received_at + KEPT,
)
