"""Signals: the reasons for an incident, and what was observed."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.narrative import Crossed, Fact, Predicted, Strange
from shared.changes import changed
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
    """The end according to its source; it takes effect then unless the signal is repeated."""
    expires: AwareDatetime | None = None
    """The time at which a signal that its source repeats ends without a repetition."""
    ending: str = ""
    """The words about its end, if it expires."""

    @property
    def ends(self) -> datetime | None:
        """The time at which it expires."""
        times = [moment for moment in (self.until, self.expires) if moment is not None]
        return min(times, default=None)

    def ending_at(self, until: datetime, ending: str) -> Signal:
        """Let it expire at this time, with these words."""
        return changed(self, until=until, ending=ending)

    def firing(self) -> Signal:
        """Turn the predicted alarm into a firing one."""
        return changed(self, state=AlertState.FIRING)


class Observation(_Record):
    """The newest curve of the forecast."""

    value: float
    threshold: float | None
    above: bool = True
    direction: Direction | None = None
    """The direction in which an anomaly left its range."""
    kind: AnomalyKind = AnomalyKind.OTHER
    """The anomaly's shape, where its detector names it."""
    sentence: str
    crossing_ms: int | None = None
    earliest_ms: int | None = None
    latest_ms: int | None = None
    predicted_value: float | None = None
    forecaster: str = ""
    strange: bool = False
    """True if it is an anomaly: unusual for its series, but not beyond a threshold."""
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
                above=self.above,
            )
        if self.strange:
            return Strange(at=at, value=self.value, sentence=self.sentence, votes=self.votes)
        return Crossed(at=at, value=self.value, threshold=self.threshold, sentence=self.sentence)

    def reached(self, value: float) -> Observation:
        """The observation of the predicted alarm once it fires, with this value."""
        gone = dict.fromkeys(("crossing_ms", "earliest_ms", "latest_ms", "predicted_value"))
        return changed(self, value=value, **gone)
