"""A series as a picture: its points, normal band or forecast, and threshold; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.client.alerts.records import Curve
from services.client.alerts.wording import clock, short_clock

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 280, 76, 16, 12, 28
GRID_LINES = 5
_MIN_SHARE = 0.05
"""The share of the height that is left free above and below."""
_ORDINARY = 1e-300
"""Numbers nearer to nothing, or to the end of all numbers, have no round ones between them."""
_BEYOND = 2.0
"""A band wider than this many times the values' own range is cut, so that values stay visible."""


@dataclass(frozen=True)
class Mark:
    """A line of the grid with its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """All of it; lines and areas as the ``points`` of SVG."""

    line: str
    band: str
    forecast: str
    forecast_band: str
    threshold: float | None
    """Its height, None for none."""
    values: tuple[Mark, ...]
    times: tuple[Mark, ...]
    sentence: str
    first_ms: int
    last_ms: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Scale:
    """From time and value to a place in the picture."""

    first: int
    last: int
    low: float
    high: float

    def x(self, time_ms: int) -> float:
        share = (time_ms - self.first) / ((self.last - self.first) or 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def path(self, points: Iterable[tuple[int, float]]) -> str:
        return " ".join(f"{self.x(t)},{self.y(value)}" for t, value in points)

    def area(self, rows: Sequence[tuple[int, float, float, float]]) -> str:
        upper = [(row[0], row[3]) for row in rows]
        lower = [(row[0], row[2]) for row in reversed(rows)]
        return self.path([*upper, *lower])


def plot(curve: Curve, what: str) -> Plot | None:
    """None without points, or where their range is beyond what numbers can tell."""
    scale = _scale(curve)
    if scale is None:
        return None
    span = scale.last - scale.first
    times = [scale.first + span * n // (GRID_LINES - 1) for n in range(GRID_LINES)]
    return Plot(
        line=scale.path(curve.recent),
        band=scale.area(curve.band),
        forecast=scale.path((row[0], row[1]) for row in curve.forecast),
        forecast_band=scale.area(curve.forecast),
        threshold=None if curve.threshold is None else scale.y(curve.threshold),
        values=tuple(Mark(scale.y(value), f"{value:.6g}") for value in round_values(scale)),
        times=tuple(Mark(scale.x(t), short_clock(t)) for t in times),
        sentence=_sentence(curve, what),
        first_ms=scale.first,
        last_ms=scale.last,
    )


def _scale(curve: Curve) -> Scale | None:
    """Values, the threshold and the forecast's mean are seen whole; a band may be cut."""
    if not curve.recent:
        return None
    measured = [value for _, value in curve.recent] + [row[1] for row in curve.forecast]
    if curve.threshold is not None:
        measured.append(curve.threshold)
    low, high = min(measured), max(measured)
    room = _BEYOND * ((high - low) or abs(high) or 1.0)
    bounds = [value for row in (*curve.band, *curve.forecast) for value in row[2:]]
    low = max(min([low, *bounds]), low - room)
    high = min(max([high, *bounds]), high + room)
    margin = _MIN_SHARE * ((high - low) or abs(high) or 1.0)
    low, high = low - margin, high + margin
    times = [time_ms for time_ms, _ in curve.recent]
    times += [row[0] for row in (*curve.band, *curve.forecast)]
    if not (math.isfinite(high - low) and high > low):
        return None
    return Scale(min(times), max(times), low, high)


def round_values(scale: Scale) -> list[float]:
    """Values to draw lines at: few, and such as people count by."""
    room = (scale.high - scale.low) / (GRID_LINES - 1)
    if not _ORDINARY < room < 1 / _ORDINARY:
        return [scale.low + n * room for n in range(GRID_LINES)]
    power = 10.0 ** math.floor(math.log10(room))
    step = next((each * power for each in (1, 2, 2.5, 5) if each * power >= room), 10 * power)
    first = math.ceil(scale.low / step)
    count = min(int(scale.high / step - first) + 1, 2 * GRID_LINES)
    return [(first + n) * step for n in range(count)]


def _sentence(curve: Curve, what: str) -> str:
    values = [value for _, value in curve.recent]
    (first, _), (last, newest) = curve.recent[0], curve.recent[-1]
    extent = f"between {min(values):.6g} and {max(values):.6g}, last {newest:.6g}"
    parts = [f"{what} from {clock(first)} to {clock(last)} UTC: {extent}"]
    if curve.threshold is not None:
        parts.append(f"the threshold is {curve.threshold:.6g}")
    if curve.band:
        _, _, lower, upper = curve.band[-1]
        parts.append(f"normal was {lower:.6g} to {upper:.6g} at the end")
    if curve.forecast:
        end, mean, lower, upper = curve.forecast[-1]
        parts.append(
            f"the forecast for {clock(end)} UTC is {mean:.6g}, within {lower:.6g} to {upper:.6g}"
        )
    return "; ".join(parts) + "."
