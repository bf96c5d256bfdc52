"""Series that have ended, because they were removed or renamed or their machine left.

An episode ends by a later sample of its series. One that never comes, since the container was
removed or the item renamed, would keep the alert open for ever. Time is the partition's own clock
without the pipeline's halts, so that a replay finds the same end at the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.detector.liveness import Liveness, Presence
from services.detector.notices import Notices
from services.detector.recent import Recent
from services.detector.verdicts import Writer
from shared.columns import Array, Column, Columns, Rows
from shared.contracts import Message
from shared.contracts.alerts import Point

_NEVER = np.iinfo(np.int64).min
_STEPS = 10
"""A series that sends rarely is waited for as long as so many of its steps."""
_LOOKS = 20
"""The number of checks of open episodes within the shortest time that ends one."""


class EndedSeries:
    """Records when each series last sent a sample, and finds ended ones with an open episode.

    Args:
        after_ms: a series that has sent nothing for this time has ended.
        silent_after_ms: a machine that has sent nothing for this time may have left.
        liveness: the partition's clock, and its machines.
        recent: the newest points of each series.
        alignment: the columns with each series' step.
        kinds: the episodes that can be open, by the name of their kind.
    """

    def __init__(
        self,
        after_ms: int,
        silent_after_ms: int,
        liveness: Liveness,
        recent: Recent,
        alignment: Mapping[str, Array],
        kinds: Mapping[str, Notices],
    ) -> None:
        self._after_ms = after_ms
        self._unheard_ms = min(after_ms, silent_after_ms)
        self._period_ms = max(1, self._unheard_ms // _LOOKS)
        self._liveness = liveness
        self._recent = recent
        self._alignment = alignment
        self._kinds = kinds
        self.state = Columns(
            [
                Column("heard_ms", np.int64, _NEVER),
                Column("time_ms", np.int64),
                Column("value", np.float64, np.nan),
            ]
        )

    def heard(self, rows: Rows, time_ms: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Take in one sample a series, of which the last value is kept."""
        state = self.state
        state["heard_ms"][rows], state["time_ms"][rows] = self._liveness.running_ms, time_ms
        state["value"][rows] = np.where(np.isfinite(values), values, state["value"][rows])

    def ends(
        self, before_ms: int, names: Sequence[tuple[str, str, str]], writer: Writer
    ) -> Iterator[Message]:
        """End the episodes of series that have ended; ``before_ms``: the last running time.

        Looking at every series for every batch would cost more than the batch.
        """
        now_ms = self._liveness.running_ms
        if now_ms // self._period_ms == before_ms // self._period_ms:
            return
        open_ = [notices.state["open"][: len(names)] for notices in self._kinds.values()]
        for row in self._ended(np.flatnonzero(np.logical_or.reduce(open_)), names):
            sample = self._last(row)
            for kind, notices in self._kinds.items():
                if notices.state["open"][row]:
                    clock_ms = self._liveness.clock_ms
                    yield writer.series_ended(kind, notices, row, clock_ms, sample)
                    notices.end(row)

    def _ended(
        self, rows: NDArray[np.int64], names: Sequence[tuple[str, str, str]]
    ) -> Iterator[int]:
        now, heard = self._liveness.running_ms, self.state["heard_ms"]
        # An older snapshot does not say when a series was heard.
        heard[rows] = np.where(heard[rows] == _NEVER, now, heard[rows])
        patience = np.maximum(self._after_ms, _STEPS * self._alignment["step_ms"][rows])
        quiet = now - heard[rows]
        for at in np.flatnonzero(quiet > self._unheard_ms):
            row = int(rows[at])
            # A machine that was heard so long after the series has not stopped with it.
            until = int(heard[row]) + patience[at] / 2
            match self._liveness.presence(names[row][0], until):
                case Presence.SILENT:
                    # Its silence is what people know; once back, its series have their time again.
                    heard[row] = now
                case Presence.LEFT:
                    yield row
                case Presence.HERE if quiet[at] > patience[at]:
                    yield row

    def _last(self, row: int) -> Point:
        """The time of the last sample and the last value, by the plot after an older snapshot."""
        value, time_ms = float(self.state["value"][row]), int(self.state["time_ms"][row])
        if np.isfinite(value):
            return Point(time_ms, value)
        return next(reversed(self._recent.points(row)), Point(max(time_ms, 1), 0.0))
