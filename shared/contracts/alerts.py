"""Messages from an observation to an alert: anomaly, prediction, alert.

An alert's routing key is made for subscribers' patterns::

    alert.<state>.<severity>.<family>.<source>

``state``: predicted, firing, resolved. ``severity``: info, warning, critical. ``family``: the
item's family (cpu, memory, disk, net, load, host, time, other). ``source``: the machine, with
dots and other separators written as ``-``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from shared.contracts.message import HostName, Message, Part, routing_word
from shared.contracts.metrics import ItemName
from shared.time_zones import LAST_MS

_TimeMs = Annotated[int, Field(description="Unix time, milliseconds.")]
EventId = Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]


_SEPARATORS = frozenset(',="')


class Direction(StrEnum):
    """The direction in which a value left its normal range."""

    SPIKE = "spike"
    DROP = "drop"
    NONE = "none"


class AnomalyKind(StrEnum):
    """The shape of an anomaly."""

    SPIKE = "spike"
    DIP = "dip"
    LEVEL_UP = "level_up"
    LEVEL_DOWN = "level_down"
    TREND = "trend"
    MORE_NOISE = "more_noise"
    LESS_NOISE = "less_noise"
    STUCK = "stuck"
    PATTERN_MISSING = "pattern_missing"
    GAP = "gap"
    OTHER = "other"


class ClearedReason(StrEnum):
    """The reason for which an episode is over."""

    BACK = "back"
    SERIES_ENDED = "series_ended"


class Stage(StrEnum):
    """The amount of its own history by which a series is judged."""

    SILENT = "silent"
    COARSE = "coarse"
    OWN = "own"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    PREDICTED = "predicted"
    FIRING = "firing"
    RESOLVED = "resolved"


def _quoted(text: str) -> str:
    """The text, in quotes where its own signs could be taken for those between labels."""
    return text if _SEPARATORS.isdisjoint(text) else json.dumps(text, ensure_ascii=False)


class SeriesRef(Part):
    """A reference to a series: the same three values always mean the same series."""

    host: HostName
    item: ItemName
    labels: dict[str, str] = Field(default_factory=dict)

    def text(self) -> str:
        """Canonical text, e.g. ``host1 df.bytes.used.percent mount=/``; no two series share one."""
        pairs = sorted(self.labels.items())
        labels = ",".join([f"{_quoted(name)}={_quoted(value)}" for name, value in pairs])
        return " ".join([part for part in (self.host, self.item, labels) if part])

    def __str__(self) -> str:
        return self.text()


class Vote(Part):
    """One detector's verdict on one point, and the numbers it compared."""

    detector: str
    judged: bool = Field(description="False when it had too little history to judge.")
    anomalous: bool
    direction: Direction = Direction.NONE
    kind: AnomalyKind = Field(
        default=AnomalyKind.OTHER, description="The anomaly's shape, where the detector names it."
    )
    numbers: dict[str, float] = Field(default_factory=dict)
    sentence: str = Field(default="", description="The same for people.")


# An event carries hundreds of points. Without a dictionary of its own each takes a fifth of the
# memory of a model, and is parsed in half of the time.
@dataclass(frozen=True, slots=True)
class Point:
    """A value of a curve."""

    time_ms: _TimeMs
    value: float


_CURVE = TypeAdapter(tuple[Point, ...])


def curve_of(time_ms: Sequence[int], values: Sequence[float]) -> tuple[Point, ...]:
    """A curve's points, many at once: an event may have hundreds."""
    pairs = zip(time_ms, values, strict=True)
    return _CURVE.validate_python([{"time_ms": at, "value": value} for at, value in pairs])


@dataclass(frozen=True, slots=True)
class BandPoint:
    """Expected value with its interval."""

    time_ms: _TimeMs
    mean: float
    lower: float
    upper: float


class AnomalyDetected(Message):
    """A series has left its normal behaviour. One event per episode."""

    TYPE: ClassVar[str] = "anomaly.detected"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: EventId = Field(description="Deterministic: series, start and detector set.")
    series: SeriesRef
    family: str
    severity: Severity = Severity.WARNING
    time_ms: int = Field(description="Time of the point that decided, Unix milliseconds.")
    value: float
    direction: Direction
    kind: AnomalyKind = Field(
        default=AnomalyKind.OTHER,
        description="The anomaly's shape, as the first deciding vote that names one has it; gap: "
        "nothing comes any more; other: no detector names one, or a threshold was crossed.",
    )
    periodic: bool | None = Field(description="The series' kind; None when not yet known.")
    stage: Stage | None = Field(
        default=None,
        description="The history of its own by which the series is judged: silent (none yet: only "
        "static thresholds speak), coarse (little: only what is far outside is an anomaly), own.",
    )
    votes: tuple[Vote, ...]
    sentence: str = Field(description="The reason, in one sentence.")
    recent: tuple[Point, ...] = Field(default=(), max_length=2000, description="For the plot.")
    band: tuple[BandPoint, ...] = Field(default=(), max_length=2000, description="Normal range.")
    threshold: float | None = Field(default=None, description="The item's alarm threshold, if any.")


class AnomalyCleared(Message):
    """The episode that ``event_id`` opened is over."""

    TYPE: ClassVar[str] = "anomaly.cleared"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: EventId = Field(description="The id of the AnomalyDetected that it ends.")
    series: SeriesRef
    family: str
    time_ms: int
    value: float
    reason: ClearedReason = Field(
        default=ClearedReason.BACK,
        description="back: the series behaves normally again; series_ended: it has sent no sample "
        "for long while time went on, and value is the last that is known of it.",
    )
    last_sample_ms: int | None = Field(
        default=None,
        ge=0,
        le=LAST_MS,
        description="Time of the last sample of a series that has ended, Unix milliseconds.",
    )


class AlarmPredicted(Message):
    """The forecast crosses the item's alarm threshold within the horizon."""

    TYPE: ClassVar[str] = "alarm.predicted"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("event_id", "revision")

    event_id: EventId = Field(description="Deterministic: series and start of the episode.")
    revision: int = Field(default=1, ge=1, description="Grows when the prediction changed much.")
    series: SeriesRef
    family: str
    severity: Severity = Severity.CRITICAL
    time_ms: int = Field(description="Time of the last sample known, Unix milliseconds.")
    value: float = Field(description="The last value.")
    threshold: float
    above: bool = Field(description="True: the alarm is above the threshold; false: below.")
    crossing_ms: int = Field(description="The time at which the mean crosses, Unix milliseconds.")
    earliest_ms: int = Field(description="The time at which the nearer bound crosses.")
    latest_ms: int | None = Field(
        description="The time at which the further bound crosses; None: open."
    )
    predicted_value: float = Field(description="Forecast at the end of the horizon.")
    probability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Probability of reaching the threshold within the horizon.",
    )
    likely_from_ms: int | None = Field(
        default=None, description="Between this time and likely_until_ms lie 80 % of probability."
    )
    likely_until_ms: int | None = Field(default=None, description="See likely_from_ms.")
    forecaster: str
    why: dict[str, str] = Field(
        default_factory=dict, description="Order, criterion, backtest errors, series kind ..."
    )
    sentence: str
    recent: tuple[Point, ...] = Field(default=(), max_length=2000)
    forecast: tuple[BandPoint, ...] = Field(default=(), max_length=2000)


class PredictionWithdrawn(Message):
    """The prediction ends: the alarm came, the forecast crosses no more, or the series ended."""

    TYPE: ClassVar[str] = "prediction.withdrawn"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("event_id",)

    event_id: EventId = Field(description="The id of the AlarmPredicted that it ends.")
    series: SeriesRef
    family: str
    time_ms: int
    value: float
    outcome: Literal["came_true", "did_not_come", "averted", "series_ended"] = Field(
        description="For the ledger; averted: the value fell at once, as after a cleaning; "
        "series_ended: the series has sent no sample for long while time went on, and value is the "
        "last that is known of it."
    )
    last_sample_ms: int | None = Field(
        default=None,
        ge=0,
        le=LAST_MS,
        description="Time of the last sample of a series that has ended, Unix milliseconds.",
    )


class AlertChanged(Message):
    """An alert's state changed. Subscribers bind their queues to this message."""

    TYPE: ClassVar[str] = "alert.changed"
    SUBJECT: ClassVar[str] = "series"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("alert_id", "sequence")

    alert_id: EventId = Field(description="The incident; the same through all its states.")
    sequence: int = Field(ge=1, description="Order of this alert's changes.")
    state: AlertState
    severity: Severity
    family: str
    series: SeriesRef
    value: float
    threshold: float | None = None
    crossing_ms: int | None = Field(
        default=None, description="The predicted time of the crossing, Unix milliseconds."
    )
    sentence: str
    handling: Literal["none", "mail", "approve", "automatic"] = "none"
    acknowledged_by: str = Field(default="", description="The person who takes care of it.")
    outcome: str = Field(default="", description="The way it ended, in words, once it is resolved.")
    at: AwareDatetime

    def routing_key(self) -> str:
        source = routing_word(self.series.host)
        return f"alert.{self.state}.{self.severity}.{routing_word(self.family)}.{source}"
