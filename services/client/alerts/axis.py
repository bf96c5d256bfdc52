"""The grid lines of a plot and their labels; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.client.alerts.wording import clock
from shared.quantity import quantity

GRID_LINES = 5
_ORDINARY = 1e-300
"""Numbers nearer to nothing, or to the end of all numbers, have no round ones between them."""
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_STEPS_MS = (
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14, 28, 91, 365)),
)
_MOST_TIMES = 6


@dataclass(frozen=True)
class Mark:
    """A line of the grid with its text."""

    at: float
    text: str


def round_values(low: float, high: float) -> list[float]:
    """Values to draw lines at: few, and such as people count by."""
    room = (high - low) / (GRID_LINES - 1)
    if not _ORDINARY < room < 1 / _ORDINARY:
        return [low + n * room for n in range(GRID_LINES)]
    power = 10.0 ** math.floor(math.log10(room))
    step = next((each * power for each in (1, 2, 2.5, 5) if each * power >= room), 10 * power)
    first = math.ceil(low / step)
    count = min(int(high / step - first) + 1, 2 * GRID_LINES)
    return [(first + n) * step for n in range(count)]


def round_times(first_ms: int, last_ms: int) -> list[tuple[int, str]]:
    """Times to draw lines at: few, full minutes, hours or days in UTC, each with its text."""
    span = last_ms - first_ms
    step = next((each for each in _STEPS_MS if span / each <= _MOST_TIMES), None)
    if step is None or span <= 0:
        return [(each, clock(each)) for each in dict.fromkeys((first_ms, last_ms))]
    begin = -(-first_ms // step) * step
    return [(at, _time_text(at, step)) for at in range(begin, last_ms + 1, step)]


def value_text(value: float, unit: str) -> str:
    """A grid line's value: percent and bytes with their unit, which others have in the legend."""
    if unit == "percent" or unit.startswith("bytes"):
        return quantity(value, unit)
    return f"{value:.6g}"


def _time_text(at_ms: int, step: int) -> str:
    """The time of a grid line, e.g. ``13:46:30``, ``13:45``, and ``29 Nov`` at a day's start."""
    if at_ms % _DAY == 0 and step >= _HOUR:
        return clock(at_ms, "%d %b" if step < _STEPS_MS[-1] else "%b %Y")
    return clock(at_ms, "%H:%M:%S" if step < _MINUTE else "%H:%M")
