"""Predictions of series that send nothing any more: removed or renamed, or their machine is gone.

A prediction ends by a later sample of its series. One whose series never sends again would stay
open for ever. Time is the partition's own clock without the pipeline's halts, so that a replay
ends it at the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.predictor.episodes import Episodes
from services.predictor.settings import EngineSettings
from services.predictor.watched import WatchedSeries
from shared.contracts import Message
from shared.samples import SampleBatch
from shared.stream_clock import StreamClock

_STEPS = 3
"""A series of few samples is waited for as long as so many steps of its history."""
_LOOKS = 20
"""The number of checks of open predictions within the time that ends one."""


class EndedSeries:
    """The partition's clock, and which of the series with an open prediction have ended."""

    def __init__(
        self, settings: EngineSettings, watched: WatchedSeries, episodes: Episodes
    ) -> None:
        after_ms = round(settings.series_ended_after_s * 1000)
        self._patience_ms = max(after_ms, _STEPS * settings.resolution_ms)
        self._most_step_ms = round(settings.max_clock_step_s * 1000)
        self._watched = watched
        self._episodes = episodes
        self._clock = StreamClock(self._most_step_ms)
        self.running_ms = 0
        """The time that passed without the pipeline's halts."""

    @property
    def now_ms(self) -> int:
        """The partition's time."""
        return self._clock.now_ms

    def ends(self, samples: SampleBatch) -> Iterator[Message]:
        """Let the clock go on with a batch, and withdraw the predictions of series that ended."""
        before, running = self.running_ms, self._moved(samples)
        self.running_ms = running
        # Looking at every prediction for every batch would cost more than the batch.
        period = max(1, self._patience_ms // _LOOKS)
        if running // period == before // period:
            return
        last_ms = self._watched.histories.state["last_ms"]
        for row, episode in [*self._episodes.ledger.episodes.items()]:
            if episode.seen_ms != int(last_ms[row]):
                episode.seen_ms, episode.heard_ms = int(last_ms[row]), running
            elif running - episode.heard_ms > self._patience_ms:
                yield self._episodes.series_ended(
                    row, self._watched.subject(row), self._clock.now_ms
                )

    def _moved(self, samples: SampleBatch) -> int:
        """The running time with this batch."""
        first = self._clock.now_ms < 0
        newest = int(samples.time_ms.max()) if len(samples) else -1
        newest = max(newest, samples.clock_ms if samples.clock_ms is not None else -1)
        step = self._clock.tell(newest, samples.clock_ms)
        halted = first or not 0 <= step <= self._most_step_ms
        return self.running_ms if halted else self.running_ms + step

    def snapshot(self) -> list[int]:
        """The state as numbers."""
        return [self.running_ms, *self._clock.snapshot()]

    def restore(self, numbers: Sequence[int]) -> None:
        """Take the state of a snapshot; ValueError if it does not fit."""
        running_ms, *clock = numbers
        self._clock.restore(clock)
        self.running_ms = int(running_ms)
