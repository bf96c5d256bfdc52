"""Questions that a page asks of those who know, and their answers: series, curves, settings.

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
ANSWERED_WITHIN_S = 5.0
"""Who hears a question later than this answers nobody any more."""

_Text = Annotated[str, Field(max_length=200)]


class Question(Message):
    """The part that every question has."""

    ONCE: ClassVar[bool] = False

    request_id: RequestId
    at: AwareDatetime = Field(description="The time of the question; an old one is not answered.")

    def machine(self) -> str:
        """The machine whose partition it is about; '' for all partitions."""
        return ""

    def waits(self, now: datetime) -> bool:
        """Whether somebody may still wait for the answer."""
        return (now - self.at).total_seconds() < ANSWERED_WITHIN_S


class SeriesSearch(Question):
    """Which series are there? Parts of names are enough, in any case of letters."""

    TYPE: ClassVar[str] = "series.search"

    host: _Text = ""
    item: _Text = ""
    search: _Text = Field(default="", description="Part of the machine, the item or a label.")
    limit: int = Field(default=100, ge=1, le=MAX_FOUND)


class SeriesFound(Message):
    """Series of one partition that match; the others of a search come from other partitions."""

    TYPE: ClassVar[str] = "series.found"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    partition: int = Field(ge=0)
    partitions: int = Field(ge=1, description="The number of partitions.")
    series: Annotated[tuple[SeriesRef, ...], cut_to(MAX_FOUND)] = Field(max_length=MAX_FOUND)
    more: bool = Field(default=False, description="Whether the partition has more of them.")


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
    above: bool = Field(default=True, description="Whether the alarm lies above the threshold.")
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
    note: Sentence = Field(default="", description="Why something is missing, for people.")


class CurveAnswered(Message):
    """A series' detector or predictor answers; without a curve it does not know the series."""

    TYPE: ClassVar[str] = "curve.answered"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    source: Literal["detector", "predictor"]
    curve: Curve | None = None


class SettingsAsk(Question):
    """With which settings do the services run?"""

    TYPE: ClassVar[str] = "settings.ask"


class SettingsAnswered(Message):
    """One replica's settings, secrets masked."""

    TYPE: ClassVar[str] = "settings.answered"
    ONCE: ClassVar[bool] = False

    request_id: RequestId
    service: str = Field(max_length=100)
    instance: str = Field(max_length=300)
    settings: Annotated[dict[str, str], Field(max_length=300)]
