"""The answers about one series, arranged for a plot, a table and CSV; pure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.contracts import Curve as KnownCurve
from shared.contracts import CurveAnswered, SeriesRef, Vote
from shared.contracts.alerts import BandPoint, Point

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
_MAX_TRIED = 2_000
Range = tuple[int, float, float, float]
"""Time, mean, lower and upper bound."""


@dataclass(frozen=True)
class Window:
    """The time range that is shown; None: everything known on that side."""

    from_ms: int | None = None
    until_ms: int | None = None

    def holds(self, time_ms: int) -> bool:
        """Return whether a moment is shown."""
        after = self.from_ms is None or time_ms >= self.from_ms
        return after and (self.until_ms is None or time_ms <= self.until_ms)


@dataclass(frozen=True)
class Picture:
    """A series within a window."""

    series: SeriesRef
    step_ms: int
    """The time over which each point of the history is a mean; 0: there is no history."""
    history: tuple[tuple[int, float], ...]
    recent: tuple[tuple[int, float], ...]
    """Values as they were measured."""
    band: tuple[Range, ...]
    forecast: tuple[Range, ...]
    threshold: float | None
    above: bool
    votes: tuple[Vote, ...]
    why: dict[str, str]
    probability: float | None
    notes: tuple[str, ...]
    """The parts of the answer that are missing, and why."""
    week: tuple[tuple[int, float], ...]
    """The values of the last week that are known, whatever the window."""

    recent_ms: int
    """The start of the measured values, whatever the window."""

    @property
    def line(self) -> tuple[tuple[int, float], ...]:
        """The means up to where the measured values begin, then these."""
        return _joined(self.history, self.recent)

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last moment with anything to show."""
        times = [time_ms for time_ms, _ in self.line] + [each[0] for each in self.forecast]
        return (min(times), max(times)) if times else None

    def rows(self) -> Iterator[tuple[str, int, float, float | None, float | None]]:
        """The picture as a table: what, when, value or mean, lower, upper."""
        for kind, points in (("mean", self.history), ("value", self.recent)):
            for time_ms, value in points:
                yield kind, time_ms, value, None, None
        for kind, ranges in (("usual", self.band), ("forecast", self.forecast)):
            for time_ms, mean, lower, upper in ranges:
                yield kind, time_ms, mean, lower, upper

    def csv(self) -> str:
        """The table, for spreadsheets and programs."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(("what", "time", "value", "lower", "upper"))
        for kind, time_ms, value, lower, upper in self.rows():
            at = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
            writer.writerow((kind, at, repr(value), _cell(lower), _cell(upper)))
        return text.getvalue()

    def lasting(self) -> list[Point]:
        """The last week as a detector may judge it: a mean is a value that lasted its step."""
        points = []
        begin = self.recent_ms
        for time_ms, value in self.week:
            points.append(Point(time_ms=time_ms, value=value))
            if self.step_ms and time_ms < begin:
                points.append(Point(time_ms=time_ms + self.step_ms - 1, value=value))
        return points[-_MAX_TRIED:]


def picture_of(
    series: SeriesRef, answers: Sequence[CurveAnswered], window: Window
) -> Picture | None:
    """Arrange the answers; None if all of them say that there is no such series."""
    curves: dict[str, KnownCurve | None] = {each.source: each.curve for each in answers}
    detector, predictor = curves.get("detector"), curves.get("predictor")
    if curves and detector is None and predictor is None and "detector" in curves:
        return None
    recent, history = _points(detector), _points(predictor)
    known = detector or predictor or KnownCurve()
    newest = max((time_ms for time_ms, _ in (*recent, *history)), default=0)
    return Picture(
        series=series,
        step_ms=predictor.step_ms if predictor else 0,
        history=tuple(p for p in history if window.holds(p[0])),
        recent=tuple(p for p in recent if window.holds(p[0])),
        band=tuple(r for r in _ranges(known.band) if window.holds(r[0])),
        forecast=tuple(
            r for r in _ranges(predictor.forecast if predictor else ()) if window.holds(r[0])
        ),
        threshold=_finite(known.threshold),
        above=known.above,
        votes=known.votes,
        why=predictor.why if predictor else {},
        probability=predictor.probability if predictor else None,
        notes=tuple(_notes(curves, predictor)),
        week=tuple(p for p in _joined(history, recent) if p[0] > newest - WEEK_MS),
        recent_ms=recent[0][0] if recent else newest + 1,
    )


def _joined(
    history: Sequence[tuple[int, float]], recent: Sequence[tuple[int, float]]
) -> tuple[tuple[int, float], ...]:
    if not recent:
        return tuple(history)
    return (*(point for point in history if point[0] < recent[0][0]), *recent)


def _notes(curves: dict[str, KnownCurve | None], predictor: KnownCurve | None) -> Iterator[str]:
    if "detector" not in curves:
        yield (
            "The detector that works this machine's partition did not answer in time: the newest"
            " values, the usual range and the votes are missing. Load the page again in a moment."
        )
    if "predictor" not in curves:
        yield (
            "The predictor did not answer in time: the hourly history and the forecast are missing."
        )
    elif predictor is None:
        yield "The predictor keeps no history of this series: its item has no alarm threshold."
    elif predictor.note:
        yield predictor.note


def _points(curve: KnownCurve | None) -> list[tuple[int, float]]:
    given: Sequence[Point] = curve.points if curve else ()
    return [(point.time_ms, point.value) for point in given if math.isfinite(point.value)]


def _ranges(given: Sequence[BandPoint]) -> list[Range]:
    rows = [(point.time_ms, point.mean, point.lower, point.upper) for point in given]
    return [row for row in rows if all(map(math.isfinite, row))]


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _cell(number: float | None) -> str:
    return "" if number is None else repr(number)
