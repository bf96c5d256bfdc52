"""The use of members over time as two pictures, one of processors and one of memory; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.client.alerts.plot import GRID_LINES, Mark, Scale, round_values
from services.client.alerts.wording import clock
from services.client.description import MemberShown
from services.client.usage_curve import UsageCurve, UsagePoint
from shared.contracts import memory_bytes

MAX_LINES = 8
"""Lines in one picture: so many colours can still be distinguished."""
_DAY_S = 86_400
_HEADROOM = 1.05

Measure = Callable[[UsagePoint], float]


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
        _plot("CPU", drawn, lambda p: p.cpu_cores, cores, cores_text),
        _plot("Memory", drawn, lambda p: p.memory_bytes, memory, memory_text),
    ]


def cores_text(value: float) -> str:
    """E.g. ``1.5 cores``."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + (" core" if value == 1 else " cores")


def memory_text(value: float) -> str:
    """E.g. ``512 MiB`` and ``1.5 GiB``."""
    if value >= 2**30:
        return f"{value / 2**30:.1f} GiB"
    return f"{value / 2**20:.0f} MiB"


def _plot(
    title: str,
    curves: Sequence[UsageCurve],
    of: Measure,
    limits: set[float] | set[int],
    said: Callable[[float], str],
) -> UsagePlot:
    every = [(point.at_s, of(point)) for curve in curves for point in curve.points]
    limit = next(iter(limits)) if len(limits) == 1 else None
    high = max(*(value for _, value in every), limit or 0) * _HEADROOM or 1.0
    first = min(at for at, _ in every)
    last = max(curve.points[-1].at_s + curve.every_s for curve in curves)
    scale = Scale(first * 1000, last * 1000, 0.0, high)
    layout = "%H:%M:%S" if last - first < _DAY_S else "%m-%d %H:%M"
    shares = [n / (GRID_LINES - 1) for n in range(GRID_LINES)]
    moments = [round((first + (last - first) * share) * 1000) for share in shares]
    return UsagePlot(
        title=title,
        lines=tuple(_line(curve, of, scale) for curve in curves),
        limit=None if limit is None else scale.y(limit),
        values=tuple(Mark(scale.y(value), said(value)) for value in _values(scale)),
        times=tuple(Mark(scale.x(at), clock(at, layout)) for at in moments),
        sentence=_sentence(title, curves, of, limit, said),
    )


def _values(scale: Scale) -> list[float]:
    """Values to draw lines at; of memory they are round in the unit in which they are said."""
    unit = next((each for each in (2**30, 2**20) if scale.high >= each), 1)
    return [value * unit for value in round_values(replace(scale, high=scale.high / unit))]


def _line(curve: UsageCurve, of: Measure, scale: Scale) -> Line:
    """Each point is drawn over the whole of its step, so that one alone is seen, too."""

    def path(run: Sequence[UsagePoint]) -> str:
        ends = (*run, run[-1]._replace(at_s=run[-1].at_s + curve.every_s))
        return scale.path((point.at_s * 1000, of(point)) for point in ends)

    return Line(curve.member, tuple(path(run) for run in curve.runs()))


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
