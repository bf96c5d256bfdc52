"""An incident's story in one line of time: signals, the alert's changes, what was done about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.client.alerts.model import Incident
from services.client.alerts.records import Episode
from services.client.alerts.wording import crossing_range, number, to_the_second

_OUTCOMES = {
    "came_true": "it came true",
    "did_not_come": "it did not come",
    "averted": "it was averted",
}


@dataclass(frozen=True)
class Entry:
    """One line; ``time_ms`` is when it happened."""

    time_ms: int
    kind: str
    text: str
    by: str = ""
    order: tuple[int, int] = (0, 0)
    """The order of things that happened at the same time."""

    @property
    def time(self) -> str:
        """UTC to the second."""
        return to_the_second(self.time_ms)


def timeline(incident: Incident) -> list[Entry]:
    """From the first signal to the end."""
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
            text = f"The value is normal again: {number(episode.end_value)}."
            yield Entry(episode.ended_ms, "anomaly cleared", text)
        return
    if episode.opened_ms is not None:
        text = f"Will cross {number(episode.threshold)} {crossing_range(episode)}."
        revised_ms = episode.revised_ms or episode.opened_ms
        if revised_ms > episode.opened_ms:
            yield Entry(episode.opened_ms, "predicted", "The first forecast that crosses.")
            yield Entry(revised_ms, f"predicted, revision {episode.revision}", text)
        else:
            yield Entry(episode.opened_ms, "predicted", text)
    if episode.ended_ms is not None:
        outcome = _OUTCOMES.get(episode.outcome, episode.outcome)
        text = f"The prediction is over: {outcome}; the value is {number(episode.end_value)}."
        yield Entry(episode.ended_ms, "prediction withdrawn", text)
