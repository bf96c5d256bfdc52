"""A member's resource use over time, of bounded size however long it runs; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.changes import with_changes

MAX_POINTS = 240
FIRST_EVERY_S = 10
_GAP = 3
"""The steps without a measurement that make a gap: nothing ran, or nobody measured."""


class UsagePoint(NamedTuple):
    """The measurements within one step of time."""

    at_s: int
    """The start of the step, in seconds since 1970."""
    measurements: int
    cpu_cores: float
    """The mean of the measurements."""
    memory_bytes: int
    """The greatest of the measurements, so that a peak stays visible in a long step."""


class UsageCurve(BaseModel):
    """A member's use of processors and memory, over all of its incarnations.

    The steps begin as long as measurements are apart. Whenever there are too many points, steps
    become twice as long and neighbours become one, so that the whole life of the member is seen.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    member: str
    every_s: int = FIRST_EVERY_S
    points: tuple[UsagePoint, ...] = ()

    def measured(self, at: AwareDatetime, cpu_cores: float, memory_bytes: int) -> UsageCurve:
        """The curve with one more measurement; unchanged by one from before its newest step."""
        begin = _step(int(at.timestamp()), self.every_s)
        if self.points and begin < self.points[-1].at_s:
            return self
        new = UsagePoint(begin, 1, cpu_cores, memory_bytes)
        points = (*self.points[:-1], *_merged((*self.points[-1:], new), self.every_s))
        every_s = self.every_s
        while len(points) > MAX_POINTS:
            every_s *= 2
            points = _merged(points, every_s)
        return with_changes(self, points=points, every_s=every_s)

    def memory_growth(self) -> float:
        """Bytes a minute, where memory grew through all of the newest run; 0 where it did not."""
        run = [point.memory_bytes for point in tuple(self.runs())[-1]] if self.points else []
        quarters = [run[len(run) * n // 4 : len(run) * (n + 1) // 4] for n in range(4)]
        if not all(quarters):
            return 0.0
        highest = [max(quarter) for quarter in quarters]
        if any(after <= before for before, after in pairwise(highest)):
            return 0.0
        minutes = (len(run) - 1) * self.every_s / 60
        return (run[-1] - run[0]) / minutes

    def runs(self) -> Iterator[tuple[UsagePoint, ...]]:
        """The points between the gaps: each run is drawn as a line of its own."""
        begin = 0
        for number in range(1, len(self.points)):
            if self.points[number].at_s - self.points[number - 1].at_s > _GAP * self.every_s:
                yield self.points[begin:number]
                begin = number
        if self.points:
            yield self.points[begin:]


CSV_HEAD = "member,time,cpu_cores,memory_bytes,seconds\r\n"


def csv_rows(curve: UsageCurve) -> str:
    """Every point of a member, for spreadsheets and programs; no cell needs quotes."""
    rows = (
        f"{curve.member},{datetime.fromtimestamp(point.at_s, UTC).isoformat()},"
        f"{point.cpu_cores},{point.memory_bytes},{curve.every_s}\r\n"
        for point in curve.points
    )
    return "".join(rows)


def _step(at_s: int, every_s: int) -> int:
    return at_s // every_s * every_s


def _merged(points: Iterable[UsagePoint], every_s: int) -> tuple[UsagePoint, ...]:
    """One point for each step that has any."""
    return tuple(
        _one(begin, tuple(within))
        for begin, within in groupby(points, key=lambda p: _step(p.at_s, every_s))
    )


def _one(begin: int, within: tuple[UsagePoint, ...]) -> UsagePoint:
    number = sum(p.measurements for p in within)
    cores = sum(p.cpu_cores * p.measurements for p in within) / number
    return UsagePoint(begin, number, round(cores, 3), max(p.memory_bytes for p in within))
