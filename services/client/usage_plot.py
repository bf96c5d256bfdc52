"""Plots of members' CPU and memory use over time; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.client.alerts.axis import Mark, round_times, round_values
from services.client.alerts.plot import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Scale
from services.client.description import MemberShown
from services.client.usage_curve import UsageCurve, UsagePoint
from shared.contracts import memory_bytes

MAX_LINES = 8
"""The most lines in one picture: so many colours can still be distinguished."""
HEADROOM = 1.05
"""The top of a picture, over its highest value."""

Measure = Callable[[UsagePoint], float]
Run = Sequence[tuple[int, float]]
"""Values without a gap, each with its time in milliseconds."""


@dataclass(frozen=True)
class Line:
    """A member's use; one polyline for each time it was measured without a gap."""

    member: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class UsagePlot:
    """A picture with its sentence; ``limit`` is the height of what each member asked for."""

    title: str
    lines: tuple[Line, ...]
    limit: float | None
    values: tuple[Mark, ...]
    times: tuple[Mark, ...]
    sentence: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class UsageRow:
    """A member in the table beside the pictures."""

    member: str
    first_s: int
    last_s: int
    cpu_mean: float
    cpu_most: float
    cpu_asked: float
    memory_most: int
    memory_asked: str


def rows(curves: Sequence[UsageCurve], members: Sequence[MemberShown]) -> list[UsageRow]:
    """The rows of the table beside the pictures, one for each curve."""
    asked = {member.name: member.asked for member in members}
    return [
        UsageRow(
            member=curve.member,
            first_s=curve.points[0].at_s,
            last_s=curve.points[-1].at_s + curve.every_s,
            cpu_mean=_mean(curve),
            cpu_most=max(point.cpu_cores for point in curve.points),
            cpu_asked=asked[curve.member].cpu,
            memory_most=max(point.memory_bytes for point in curve.points),
            memory_asked=asked[curve.member].memory,
        )
        for curve in curves
        if curve.points and curve.member in asked
    ]


def plots(curves: Sequence[UsageCurve], members: Sequence[MemberShown]) -> list[UsagePlot]:
    """Processors and memory; none before there are two points to draw a line between."""
    drawn = [curve for curve in curves if curve.points][:MAX_LINES]
    if sum(len(curve.points) for curve in drawn) <= len(drawn):
        return []
    asked = [each.asked for each in members if each.name in {curve.member for curve in drawn}]
    cores = {each.cpu for each in asked}
    memory = {memory_bytes(each.memory) for each in asked}
    return [
        _plot("CPU, cores", drawn, lambda p: p.cpu_cores, cores, cores_text),
        _plot("Memory", drawn, lambda p: p.memory_bytes, memory, memory_text),
    ]


def cores_text(value: float) -> str:
    """The number with its unit, e.g. ``1.5 cores``."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + (" core" if value == 1 else " cores")


def memory_text(value: float) -> str:
    """The size with its unit, e.g. ``512 MiB`` and ``1.5 GiB``."""
    if value >= 2**30:
        return f"{value / 2**30:.1f} GiB"
    return f"{value / 2**20:.0f} MiB"


def picture(
    title: str,
    lines: Sequence[tuple[str, Sequence[Run]]],
    high: float,
    said: Callable[[float], str],
    sentence: str,
    limit: float | None = None,
) -> UsagePlot:
    """Lines from 0 up to ``high``, each with its name and its runs between gaps."""
    times = [at for _, runs in lines for run in runs for at, _ in run]
    scale = Scale(min(times), max(times), 0.0, high)
    return UsagePlot(
        title=title,
        lines=tuple(Line(name, tuple(map(scale.path, runs))) for name, runs in lines),
        limit=None if limit is None else scale.y(limit),
        values=tuple(Mark(scale.y(value), said(value)) for value in _values(scale)),
        times=tuple(Mark(scale.x(at), text) for at, text in round_times(scale.first, scale.last)),
        sentence=sentence,
    )


def _plot(
    title: str,
    curves: Sequence[UsageCurve],
    of: Measure,
    limits: set[float] | set[int],
    said: Callable[[float], str],
) -> UsagePlot:
    limit = next(iter(limits)) if len(limits) == 1 else None
    highest = max(of(point) for curve in curves for point in curve.points)
    return picture(
        title,
        [
            (curve.member, [_run(run, curve.every_s, of) for run in curve.runs()])
            for curve in curves
        ],
        max(highest, limit or 0) * HEADROOM or 1.0,
        said,
        _sentence(title, curves, of, limit, said),
        limit,
    )


def _values(scale: Scale) -> list[float]:
    """Values to draw lines at; of memory they are round in the unit in which they are said."""
    unit = next((each for each in (2**30, 2**20) if scale.high >= each), 1)
    return [value * unit for value in round_values(scale.low, scale.high / unit)]


def _run(run: Sequence[UsagePoint], every_s: int, of: Measure) -> Run:
    """The corners of a run: each point fills its whole step, so that a single one is seen, too."""
    ends = (*run, run[-1]._replace(at_s=run[-1].at_s + every_s))
    return [(point.at_s * 1000, of(point)) for point in ends]


def _sentence(
    title: str,
    curves: Sequence[UsageCurve],
    of: Measure,
    limit: float | None,
    said: Callable[[float], str],
) -> str:
    sentences = [
        f"{curve.member} at most {said(max(of(point) for point in curve.points))},"
        f" last {said(of(curve.points[-1]))}"
        for curve in curves
    ]
    asked = "" if limit is None else f"; each asked for {said(limit)}"
    return f"{title} by member: {'; '.join(sentences)}{asked}."


def _mean(curve: UsageCurve) -> float:
    measurements = sum(point.measurements for point in curve.points)
    return sum(point.cpu_cores * point.measurements for point in curve.points) / measurements
