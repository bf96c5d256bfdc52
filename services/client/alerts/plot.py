"""A series as a picture: its points, normal band or forecast, and threshold; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.client.alerts.axis import Mark, round_times, round_values, value_text
from services.client.alerts.records import Curve
from services.client.alerts.wording import clock
from shared.items import ITEMS
from shared.quantity import unit_of

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 280, 88, 16, 12, 28
_MIN_SHARE = 0.05
"""The share of the height that is left free above and below."""
_BEYOND = 2.0
"""A band wider than this many times the values' own range is cut, so that values stay visible."""


@dataclass(frozen=True)
class Plot:
    """A complete plot; lines and areas as the ``points`` of SVG."""

    line: str
    band: str
    forecast: str
    forecast_band: str
    threshold: float | None
    """The height of the threshold; None if there is none."""
    now: float | None
    """The place of the newest value, if a forecast goes beyond it."""
    crossing: tuple[float, float] | None
    """The begin and the end of the time in which the forecast may reach the threshold."""
    unit: str
    values: tuple[Mark, ...]
    times: tuple[Mark, ...]
    sentence: str
    first_ms: int
    last_ms: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def days(self) -> str:
        """The day that it shows, e.g. ``29 Nov 2026``, or the first and the last day."""
        days = (clock(each, "%d %b %Y") for each in (self.first_ms, self.last_ms))
        return " to ".join(dict.fromkeys(days))


@dataclass(frozen=True)
class Scale:
    """Maps times and values to coordinates."""

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


def plot(
    curve: Curve, item: str, what: str, crossing: tuple[int | None, int | None] = (None, None)
) -> Plot | None:
    """Draw the plot; None without points, or if their range exceeds floating-point numbers."""
    scale = _scale(curve, item)
    if scale is None:
        return None
    newest, unit = curve.recent[-1][0], unit_of(item)
    goes_beyond = bool(curve.forecast) and curve.forecast[-1][0] > newest
    return Plot(
        line=scale.path(curve.recent),
        band=scale.area(curve.band),
        forecast=scale.path((row[0], row[1]) for row in curve.forecast),
        forecast_band=scale.area(curve.forecast),
        threshold=None if curve.threshold is None else scale.y(curve.threshold),
        now=scale.x(newest) if goes_beyond else None,
        crossing=_within(scale, *crossing) if goes_beyond else None,
        unit=unit,
        values=tuple(
            Mark(scale.y(value), value_text(value, unit))
            for value in round_values(scale.low, scale.high)
        ),
        times=tuple(Mark(scale.x(at), text) for at, text in round_times(scale.first, scale.last)),
        sentence=_sentence(curve, what),
        first_ms=scale.first,
        last_ms=scale.last,
    )


def _within(scale: Scale, earliest: int | None, latest: int | None) -> tuple[float, float] | None:
    """The part of a time that the picture shows; one without an end goes on to its edge."""
    if earliest is None or earliest > scale.last:
        return None
    until = scale.last if latest is None else min(latest, scale.last)
    begin = max(earliest, scale.first)
    return (scale.x(begin), scale.x(until)) if begin < until else None


def _scale(curve: Curve, item: str) -> Scale | None:
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
    low, high = _possible(low - margin, high + margin, item)
    times = [time_ms for time_ms, _ in curve.recent]
    times += [row[0] for row in (*curve.band, *curve.forecast)]
    if not (math.isfinite(high - low) and high > low):
        return None
    return Scale(min(times), max(times), low, high)


def _possible(low: float, high: float, item: str) -> tuple[float, float]:
    """The range without what the item cannot be: a disk is never full beyond 100 %."""
    known = ITEMS.get(item)
    if known is None:
        return low, high
    least = low if known.minimum is None else max(low, min(known.minimum, high))
    most = high if known.maximum is None else min(high, max(known.maximum, low))
    return (least, most) if least < most else (low, high)


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
