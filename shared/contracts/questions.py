"""Questions of the pages to other services, and their answers: series, curves, settings.

A question goes to every replica. Of a partition's series the one that works the partition answers,
from the state that its models have; the others say nothing. Nothing is kept of either, so an
answer that does not come in time is not waited for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from shared.contracts.alerts import BandPoint, Point, SeriesRef, Vote
from shared.contracts.message import Message, Part, Sentence, cut_to

RequestId = Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
MAX_FOUND = 500
MAX_SCORES = 2000
ANSWERED_WITHIN_S = 5.0
"""The time after which no answer is awaited."""

_Text = Annotated[str, Field(max_length=200)]


class Question(Message):
    """The common fields of all questions."""

    ONCE: ClassVar[bool] = False

    request_id: RequestId
    at: AwareDatetime = Field(description="The time of the question; an old one is not answered.")

    def machine(self) -> str:
        """The machine whose partition it is about; '' for all partitions."""
        return ""

    def waits(self, now: datetime) -> bool:
        """Return whether somebody may still wait for the answer."""
        return (now - self.at).total_seconds() < ANSWERED_WITHIN_S


class SeriesSearch(Question):
    """Asks which series there are. Parts of names are enough; case does not matter."""

    TYPE: ClassVar[str] = "series.search"

    host: _Text = ""
    item: _Text = ""
    search: _Text = Field(default="", description="Part of the machine, the item or a label.")
    limit: int = Field(default=100, ge=1, le=MAX_FOUND)


class SeriesFound(Message):
    """The matching series of one partition; other partitions answer for themselves."""

    TYPE: ClassVar[str] = "series.found"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    partition: int = Field(ge=0)
    partitions: int = Field(ge=1, description="The number of partitions.")
    series: Annotated[tuple[SeriesRef, ...], cut_to(MAX_FOUND)] = Field(max_length=MAX_FOUND)
    more: bool = Field(default=False, description="True: the partition has more of them.")


class CurveAsk(Question):
    """Ask the models for a series' curve."""

    TYPE: ClassVar[str] = "curve.ask"

    series: SeriesRef

    def machine(self) -> str:
        return self.series.host


class Curve(Part):
    """The part of a series that a model keeps."""

    points: Annotated[tuple[Point, ...], cut_to(2000)] = Field(
        default=(), max_length=2000, description="The measured values, oldest first."
    )
    step_ms: int = Field(default=0, ge=0, description="A point's mean is over so long; 0: a value.")
    band: Annotated[tuple[BandPoint, ...], cut_to(2000)] = Field(
        default=(), max_length=2000, description="The usual values at these times."
    )
    forecast: Annotated[tuple[BandPoint, ...], cut_to(500)] = Field(default=(), max_length=500)
    threshold: float | None = Field(default=None, description="The static alarm's.")
    above: bool = Field(
        default=True, description="True: the alarm is above the threshold; false: below."
    )
    votes: Annotated[tuple[Vote, ...], cut_to(50)] = Field(
        default=(),
        max_length=50,
        description="The votes of the detectors if the last value stayed.",
    )
    why: dict[str, str] = Field(
        default_factory=dict, description="The history on which the forecast rests."
    )
    probability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Probability of reaching the threshold within the forecast.",
    )
    note: Sentence = Field(
        default="", description="The reason for which something is missing, for people."
    )


class CurveAnswered(Message):
    """The answer of a detector or predictor; without a curve it does not know the series."""

    TYPE: ClassVar[str] = "curve.answered"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    source: Literal["detector", "predictor"]
    curve: Curve | None = None


class ThresholdTry(Question):
    """Asks when a series would have alarmed with another threshold."""

    TYPE: ClassVar[str] = "threshold.try"

    series: SeriesRef
    threshold: float
    above: bool = Field(description="True: the alarm is above the threshold; false: below.")
    points: Annotated[tuple[Point, ...], cut_to(2000)] = Field(
        max_length=2000, description="The history to judge, oldest first."
    )

    def machine(self) -> str:
        return self.series.host


class ThresholdTried(Message):
    """The alarms of a history, as the detector of the series judges it."""

    TYPE: ClassVar[str] = "threshold.tried"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    began_ms: Annotated[tuple[int, ...], cut_to(2000)] = Field(
        max_length=2000,
        description="The times at which alarms would have begun, Unix milliseconds.",
    )
    confirm_s: float = Field(ge=0, description="Seconds beyond the threshold that make an alarm.")


class ScoresAsk(Question):
    """Asks how well past forecasts did, by item and week."""

    TYPE: ClassVar[str] = "scores.ask"


class ForecastScore(Part):
    """The forecasts of an item's series for a week, and the actual values."""

    item: str = Field(max_length=300)
    week: str = Field(pattern=r"^\d{4}-W\d{2}$", description="ISO 8601, from Monday, UTC.")
    judged: int = Field(ge=0, description="Values for which there was a forecast.")
    inside: int = Field(ge=0, description="Those that its 95 % interval held.")
    chances: int = Field(ge=0, description="Forecasts whose probability of an alarm was judged.")
    came: int = Field(ge=0, description="Those within which the alarm came.")
    squares: float = Field(ge=0, description="Sum of (probability - 1 or 0)^2 over them.")


class ScoresAnswered(Message):
    """The scores of one partition's forecasts; other partitions answer for themselves."""

    TYPE: ClassVar[str] = "scores.answered"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    partition: int = Field(ge=0)
    partitions: int = Field(ge=1, description="The number of partitions.")
    scores: Annotated[tuple[ForecastScore, ...], cut_to(MAX_SCORES)] = Field(max_length=MAX_SCORES)


class SettingsAsk(Question):
    """Asks for the settings in force."""

    TYPE: ClassVar[str] = "settings.ask"


class SettingsAnswered(Message):
    """One replica's settings, secrets masked."""

    TYPE: ClassVar[str] = "settings.answered"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    service: str = Field(max_length=100)
    instance: str = Field(max_length=300)
    settings: Annotated[dict[str, str], Field(max_length=300)]


class DeadLettersAsk(Question):
    """Asks how many messages wait that could not be handled."""

    TYPE: ClassVar[str] = "dead-letters.ask"


class DeadLettersAnswered(Message):
    """The dead letters of one service's queues; each of its replicas answers the same."""

    TYPE: ClassVar[str] = "dead-letters.answered"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    queues: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(max_length=100)] = Field(
        description="The number of dead letters of each work queue."
    )
