"""The records of alerts: each as last heard of, its history, and the signals of its series."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts.alerts import AlertState, Severity
from shared.store import Collection

KEPT = timedelta(days=30)
"""How long an ended alert, its history and the signals of its series are kept."""
RESOLVED = "resolved"
OPEN_RANKS = tuple(
    f"{state}-{severity}"
    for severity in (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
    for state in (AlertState.FIRING, AlertState.PREDICTED)
)
"""Open alerts' ranks, the most urgent first."""
RANKS = (*OPEN_RANKS, RESOLVED)
OPEN_PREDICTION, OTHER = "open", "other"
_LAST_MS = 253_370_764_800_000
"""The year 9999: senders choose the time of a crossing, and calendars end."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class AlertView(_Frozen):
    """An alert as its newest change tells; ``sequence`` is that change's."""

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
    """When the alert's earliest change that was received happened."""
    at: AwareDatetime

    @property
    def rank(self) -> str:
        """How urgent it is; one of ``RANKS``."""
        return RESOLVED if self.state is AlertState.RESOLVED else f"{self.state}-{self.severity}"


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
    """When the client heard of it first."""
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
    def standing(self) -> str:
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
    # An alert that is open stays, however old: nobody would tell of it again.
    return alert.at + KEPT if alert.state is AlertState.RESOLVED else None


def _due(episode: Episode) -> datetime:
    """When an open prediction may come true first, by which they are listed; else its end."""
    if episode.standing != OPEN_PREDICTION:
        return episode.received_at + KEPT
    earliest_ms = min(max(episode.earliest_ms or 0, 0), _LAST_MS)
    return datetime.fromtimestamp(earliest_ms / 1000, UTC)


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
    status=lambda e: e.standing,
    due=_due,
)
CURVES = Collection(
    "client-curves",
    Curve,
    key=lambda c: c.event_id,
    due=lambda c: c.received_at + KEPT,
)
