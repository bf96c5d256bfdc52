"""Signals: the trouble of a series, and what was seen of it."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.narrative import Crossed, Fact, Predicted, Strange
from shared.contracts.alerts import AlertState, AnomalyKind, BandPoint, Direction, Point, Severity


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Signal(_Record):
    """Something that is wrong now, by its event's id."""

    event_id: str
    state: AlertState
    severity: Severity
    revision: int = 1
    time_ms: int
    until: AwareDatetime | None = None
    """It is over as far as its source knows; unless another comes, the clock ends it then."""
    expires: AwareDatetime | None = None
    """Set where the source repeats what still holds: not repeated, it ends then."""
    ending: str = ""
    """How it ended, in words, when the clock ends it."""

    @property
    def ends(self) -> datetime | None:
        """When the clock ends it."""
        times = [moment for moment in (self.until, self.expires) if moment is not None]
        return min(times, default=None)

    def ending_at(self, until: datetime, ending: str) -> Signal:
        """The clock ends it then, with these words."""
        return self.model_copy(update={"until": until, "ending": ending})

    def firing(self) -> Signal:
        """The alarm that it predicted fires."""
        return self.model_copy(update={"state": AlertState.FIRING})


class Sight(_Record):
    """The newest curve of the forecast."""

    value: float
    threshold: float | None
    above: bool = True
    direction: Direction | None = None
    """Which way an anomaly left its range."""
    kind: AnomalyKind = AnomalyKind.OTHER
    """The anomaly's shape, where its detector names it."""
    sentence: str
    crossing_ms: int | None = None
    earliest_ms: int | None = None
    latest_ms: int | None = None
    predicted_value: float | None = None
    forecaster: str = ""
    strange: bool = False
    """Whether it is an anomaly: unlike itself, but not beyond a threshold."""
    votes: tuple[str, ...] = ()
    """The detectors that call it anomalous."""
    probability: float | None = None
    """The probability of a predicted alarm; None: not known."""
    recent: tuple[Point, ...] = ()
    band: tuple[BandPoint, ...] = ()

    def fact(self, state: AlertState, at: datetime) -> Fact:
        """The fact that this adds to an incident's narrative."""
        if state is AlertState.PREDICTED and self.threshold is not None and self.crossing_ms:
            return Predicted(
                at=at,
                value=self.value,
                threshold=self.threshold,
                crossing_ms=self.crossing_ms,
                earliest_ms=self.earliest_ms,
                latest_ms=self.latest_ms,
                probability=self.probability,
                forecaster=self.forecaster,
            )
        if self.strange:
            return Strange(at=at, value=self.value, sentence=self.sentence, votes=self.votes)
        return Crossed(at=at, value=self.value, threshold=self.threshold, sentence=self.sentence)

    def reached(self, value: float) -> Sight:
        """The predicted alarm fires, with this value."""
        gone = dict.fromkeys(("crossing_ms", "earliest_ms", "latest_ms", "predicted_value"))
        return self.model_copy(update={"value": value, **gone})
