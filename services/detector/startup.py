"""The first minutes of a series and of a machine's agent, which are not judged.

What starts works hard: it loads, fills its caches and makes up for lost time. Nobody is to be
woken by that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors.base import Bools
from shared.columns import Column, Columns, Rows
from shared.samples import SampleBatch

_NEVER = np.iinfo(np.int64).min
_AGAIN_MS = 3_600_000
"""A start within this time of another excuses nothing: what starts repeatedly is ill."""


class Startup:
    """The start times of each series and of its machine's agent.

    Args:
        lasts_ms: how long the first minutes are.
    """

    def __init__(self, lasts_ms: int) -> None:
        self._lasts_ms = lasts_ms
        self.state = Columns(
            [Column("first_ms", np.int64, _NEVER), Column("started_ms", np.int64, _NEVER)]
        )

    def agents(self, points: SampleBatch, rows: NDArray[np.int64]) -> None:
        """Take the agents' word of their age, for the series of these points.

        Args:
            points: samples, with the starts of the agents that sent them.
            rows: the series of each sample.
        """
        if not points.started or not len(rows):
            return
        newest = int(points.time_ms.max())
        young = {host: ms for host, ms in points.started if newest - ms < self._lasts_ms}
        for code, host in enumerate(points.hosts) if young else ():
            if host in young:
                self._begin(np.unique(rows[points.host_code == code]), young[host])

    def _begin(self, rows: NDArray[np.int64], started_ms: int) -> None:
        known = self.state["started_ms"]
        before = known[rows]
        known[rows] = np.where(before < started_ms - _AGAIN_MS, started_ms, before)

    def step(self, rows: Rows, time_ms: NDArray[np.int64]) -> tuple[Bools, Bools]:
        """Marks the points at which a series, or its machine's agent, is in its first minutes."""
        first = self.state["first_ms"]
        first[rows] = np.where(first[rows] == _NEVER, time_ms, first[rows])
        earliest = time_ms - self._lasts_ms
        return first[rows] > earliest, self.state["started_ms"][rows] > earliest
