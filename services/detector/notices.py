"""One notice an episode: opened after some anomalous points, closed after some normal ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors.base import Bools
from shared.columns import Column, Columns, Rows

_MOST = 30_000


@dataclass(frozen=True)
class Changes:
    """Places in the tick whose series' episode begins or ends with this point."""

    opened: NDArray[np.intp]
    closed: NDArray[np.intp]


class Notices:
    """The state machine of one kind of notice for all series, with hysteresis.

    A point that cannot be judged neither opens nor closes anything, and starts counting anew.
    """

    def __init__(self, confirm: int, clear: int) -> None:
        self._confirm = confirm
        self._clear = clear
        self.state = Columns(
            [
                Column("open", np.bool_),
                Column("opened_ms", np.int64),
                Column("bad", np.int16),
                Column("good", np.int16),
            ]
        )

    def step(
        self, rows: Rows, time_ms: NDArray[np.int64], judged: Bools, anomalous: Bools
    ) -> Changes:
        """Take in one verdict a series."""
        state = self.state
        is_open = state["open"][rows]
        fires = judged & anomalous
        bad = np.where(fires, np.minimum(state["bad"][rows] + 1, _MOST), 0)
        good = np.where(judged & ~anomalous, np.minimum(state["good"][rows] + 1, _MOST), 0)
        state["bad"][rows], state["good"][rows] = bad, good
        opens = ~is_open & (bad >= self._confirm)
        closes = is_open & (good >= self._clear)
        if opens.any() or closes.any():
            state["open"][rows] = (is_open | opens) & ~closes
            state["opened_ms"][rows] = np.where(opens, time_ms, state["opened_ms"][rows])
        return Changes(np.flatnonzero(opens), np.flatnonzero(closes))
