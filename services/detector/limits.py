"""The limits of each series: valid range, alarm threshold, reported directions.

From the catalogue of items (``shared.items``), then from the overrides. Worked out again at every
start, so that a changed file holds at once; no snapshot has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.detector.calendars import Calendar, Calendars
from services.detector.overrides import Overrides
from shared.columns import Column, Columns
from shared.items import ITEMS

_COLUMNS: dict[str, tuple[str, dict[str | bool, float] | None]] = {
    "minimum": ("least", None),
    "maximum": ("most", None),
    "threshold": ("limit", None),
    "alarm_confirm_s": ("confirm_s", None),
    "alarm": ("above", {"above": True, "below": False}),
    "direction": ("wanted", {"both": 0, "spike": 1, "drop": -1}),
    "min_deviation": ("floor", None),
    "alarms_per_week": ("budget", None),
    "judged": ("muted", {True: False, False: True}),
}
"""The column for each field of an entry, and the number for each word it may hold."""


class Limits:
    """Columns of every series' limits; ``calendars`` are numbered as ``state["calendar"]`` says.

    Args:
        overrides: what is different for some series.
        usual: the calendar of all others.
        confirm_s: how long an alarm must last.
        burst_confirm_s: the same of items that come in bursts.
    """

    def __init__(
        self, overrides: Overrides, usual: Calendar, confirm_s: float, burst_confirm_s: float
    ) -> None:
        self._overrides = overrides
        self._burst_confirm_s = burst_confirm_s
        self._numbers = {name: at + 1 for at, name in enumerate(overrides.calendars)}
        self.calendars = Calendars([usual, *overrides.calendars.values()])
        self.state = Columns(
            [
                Column("limit", np.float64, np.nan),
                Column("above", np.bool_, True),
                Column("confirm_s", np.float64, confirm_s),
                Column("bursts", np.bool_),
                Column("least", np.float64, -np.inf),
                Column("most", np.float64, np.inf),
                Column("wanted", np.int8),
                Column("floor", np.float64),
                Column("budget", np.float64, np.nan),
                Column("muted", np.bool_),
                Column("calendar", np.int16),
            ]
        )

    def grow(self, names: Sequence[tuple[str, str, str]]) -> None:
        """Fill in the series (host, item, labels text) that are new."""
        start = self.state.size
        self.state.grow(len(names))
        for row in range(start, len(names)):
            self._fill(row, names[row])

    def _fill(self, row: int, name: tuple[str, str, str]) -> None:
        state, item = self.state, ITEMS.get(name[1])
        if item is not None:
            state["above"][row] = item.above
            state["bursts"][row] = item.bursts
            if item.bursts:
                state["confirm_s"][row] = self._burst_confirm_s
            state["limit"][row] = np.nan if item.threshold is None else item.threshold
            state["least"][row] = -np.inf if item.minimum is None else item.minimum
            state["most"][row] = np.inf if item.maximum is None else item.maximum
        for key, value in self._overrides.of(*name).items() if self._overrides.series else ():
            if key == "calendar":
                state["calendar"][row] = self._numbers[value]
            elif key == "alarm" and value == "none":
                state["limit"][row] = np.nan
            else:
                column, meaning = _COLUMNS[key]
                state[column][row] = value if meaning is None else meaning[value]
