"""Episodes: opened when anomalous points last, closed when normal points do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors.base import Bools
from shared.columns import Column, Columns, Rows

_MAX_IN_A_ROW = 30_000


@dataclass(frozen=True)
class Lasting:
    """The duration of a condition: consecutive points, and time from first to last."""

    points: int
    ms: float = 0


@dataclass(frozen=True)
class Changes:
    """Places in the tick whose series' episode begins or ends with this point."""

    opened: NDArray[np.intp]
    closed: NDArray[np.intp]


class Notices:
    """The state machine of one kind of notice for all series, with hysteresis.

    A point that cannot be judged neither opens nor closes anything, and starts counting again.
    """

    def __init__(self, confirm: Lasting, clear: Lasting) -> None:
        self._confirm = confirm
        self._clear = clear
        self.state = Columns(
            [
                Column("open", np.bool_),
                Column("opened_ms", np.int64),
                Column("bad", np.int16),
                Column("good", np.int16),
                Column("bad_since_ms", np.int64, added=True),
                Column("good_since_ms", np.int64, added=True),
            ]
        )

    def step(
        self,
        rows: Rows,
        time_ms: NDArray[np.int64],
        judged: Bools,
        anomalous: Bools,
        confirm_ms: NDArray[np.float64] | None = None,
    ) -> Changes:
        """Take in one verdict a series; ``confirm_ms``: what opens an episode, for each."""
        state = self.state
        is_open = state["open"][rows]
        lasts_ms = self._confirm.ms if confirm_ms is None else confirm_ms
        bad, good = judged & anomalous, judged & ~anomalous
        confirmed = self._lasts("bad", rows, time_ms, bad, self._confirm.points, lasts_ms)
        cleared = self._lasts("good", rows, time_ms, good, self._clear.points, self._clear.ms)
        opens, closes = ~is_open & confirmed, is_open & cleared
        if opens.any() or closes.any():
            state["open"][rows] = (is_open | opens) & ~closes
            state["opened_ms"][rows] = np.where(opens, time_ms, state["opened_ms"][rows])
        return Changes(np.flatnonzero(opens), np.flatnonzero(closes))

    def end(self, row: int) -> None:
        """End the episode of a series that has ended; a later episode counts separately."""
        self.state["open"][row] = False
        self.state["bad"][row] = self.state["good"][row] = 0

    def _lasts(
        self,
        name: str,
        rows: Rows,
        time_ms: NDArray[np.int64],
        holds: Bools,
        points: int,
        lasts_ms: float | NDArray[np.float64],
    ) -> Bools:
        """Count the points in a row for which it holds; where it does so for long enough."""
        counts, since = self.state[name], self.state[f"{name}_since_ms"]
        count = np.where(holds, np.minimum(counts[rows] + 1, _MAX_IN_A_ROW), 0)
        began = np.where(count == 1, time_ms, since[rows])
        counts[rows], since[rows] = count, began
        enough: Bools = (count >= points) & (time_ms - began >= lasts_ms)
        return enough
