"""Finds the incidents of a series, and reads ahead what a batch of signals will look up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.healer.model.commands import ENDED
from services.healer.model.incident import INCIDENTS, Incident
from services.healer.model.notification import series_key
from services.healer.model.signal import Signal
from services.healer.model.transitions import Phase
from shared.contracts import (
    AlarmPredicted,
    AnomalyCleared,
    AnomalyDetected,
    Message,
    PredictionWithdrawn,
)
from shared.contracts.alerts import SeriesRef
from shared.store import Records

_OPEN = [phase for phase in Phase if phase is not Phase.CLOSED]
_LOOK_BACK = 20
_SIGNALS = (AnomalyDetected, AnomalyCleared, AlarmPredicted, PredictionWithdrawn)


def read_ahead(messages: Sequence[Message], records: Records) -> None:
    """Read the records that a batch of signals needs, in two statements instead of two each."""
    signals = [message for message in messages if isinstance(message, _SIGNALS)]
    read_signals_ahead([(signal.series, signal.event_id) for signal in signals], records)


def read_signals_ahead(signals: Sequence[tuple[SeriesRef, str]], records: Records) -> None:
    """Read the records that these signals need, given their series and event ids."""
    groups = {series_key(series) for series, _ in signals}
    records.read_ahead(INCIDENTS, groups=groups, newest=_LOOK_BACK)
    records.read_ahead(ENDED, keys=[event_id for _, event_id in signals])


def incidents_of(records: Records, series: SeriesRef) -> list[Incident]:
    """The last incidents of a series, newest first."""
    key = series_key(series)
    return records.find(INCIDENTS, group=key, limit=_LOOK_BACK, newest_first=True)


def open_among(incidents: Iterable[Incident]) -> Incident | None:
    """The open incident among them."""
    return next((i for i in incidents if i.phase is not Phase.CLOSED), None)


def open_incident(records: Records, series: SeriesRef) -> Incident | None:
    """The open incident of this series."""
    key = series_key(series)
    found = records.find(INCIDENTS, group=key, status=_OPEN, limit=1, newest_first=True)
    return found[0] if found else None


def dealt_with(records: Records, past: Iterable[Incident], signal: Signal) -> bool:
    """Return whether the signal ended before, so that this is a late repetition."""
    if any(i.ended.get(signal.event_id, -1) >= signal.time_ms for i in past):
        return True
    return records.get(ENDED, signal.event_id) is not None
