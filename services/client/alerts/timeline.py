"""An incident's timeline: its signals, the alert's changes, and the actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.client.alerts.model import Incident
from services.client.alerts.records import SERIES_ENDED, Episode
from services.client.alerts.wording import crossing_range, measured, to_the_second

_OUTCOMES = {
    "came_true": "it came true",
    "did_not_come": "it did not come",
    "averted": "it was averted",
    "series_ended": "its series sends nothing any more",
}


@dataclass(frozen=True)
class Entry:
    """One entry of the timeline; ``time_ms`` is when it happened."""

    time_ms: int
    kind: str
    text: str
    by: str = ""
    order: tuple[int, int] = (0, 0)
    """The order of things that happened at the same time."""

    @property
    def time(self) -> str:
        """The time in UTC, to the second."""
        return to_the_second(self.time_ms)


def with_predictions(facts: Iterable[Entry], incident: Incident) -> list[Entry]:
    """Return the healer's facts and the forecasts; an earlier forecast is not the alert's own."""
    entries = list(facts)
    if not any(entry.kind.startswith("predicted") for entry in entries):
        predictions = [e for e in incident.episodes if e.kind == "prediction"]
        entries += [entry for each in predictions for entry in _of_episode(each)]
    return sorted(entries, key=lambda e: e.time_ms)


def timeline(incident: Incident) -> list[Entry]:
    """The alert's timeline, from its first signal to its end."""
    entries = [entry for episode in incident.episodes for entry in _of_episode(episode)]
    entries += [
        Entry(round(e.at.timestamp() * 1000), e.kind, e.text, e.by, (e.order, e.sequence))
        for e in incident.events
    ]
    return sorted(entries, key=lambda e: (e.time_ms, e.order, e.kind, e.text))


def _of_episode(episode: Episode) -> Iterator[Entry]:
    if episode.kind == "anomaly":
        if episode.opened_ms is not None:
            yield Entry(episode.opened_ms, "anomaly", episode.sentence)
        if episode.ended_ms is not None:
            value = measured(episode.end_value, episode.item)
            text = f"The value is normal again: {value}."
            if episode.outcome == SERIES_ENDED:
                text = f"The series sends nothing any more; its last value was {value}."
            yield Entry(episode.ended_ms, "anomaly cleared", text)
        return
    if episode.opened_ms is not None:
        text = f"Will cross {measured(episode.threshold, episode.item)} {crossing_range(episode)}."
        revised_ms = episode.revised_ms or episode.opened_ms
        if revised_ms > episode.opened_ms:
            yield Entry(episode.opened_ms, "predicted", "The first forecast that crosses.")
            yield Entry(revised_ms, f"predicted, revision {episode.revision}", text)
        else:
            yield Entry(episode.opened_ms, "predicted", text)
    if episode.ended_ms is not None:
        outcome = _OUTCOMES.get(episode.outcome, episode.outcome)
        value = measured(episode.end_value, episode.item)
        text = f"The prediction is over: {outcome}; the value is {value}."
        yield Entry(episode.ended_ms, "prediction withdrawn", text)
