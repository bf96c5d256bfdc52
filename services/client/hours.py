"""A machine's last day as strips of hours, for the health map and the machine's page; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from shared.contracts.health import HEALTHY, WATCH

HOURS = 24
_BUSY, _FULL = 70.0, 90.0
"""Percent in use from which an hour of CPU or memory is marked."""


@dataclass(frozen=True)
class Run:
    """Neighbouring hours of one band, as a part of a strip that is ``HOURS`` wide."""

    band: str
    begin: int
    hours: int


@dataclass(frozen=True)
class Strip:
    """A machine's last day on the map, with the same in words."""

    runs: tuple[Run, ...]
    words: str


@dataclass(frozen=True)
class Cell:
    """One hour of a row."""

    at: datetime
    value: float | None
    band: str


@dataclass(frozen=True)
class Row:
    """One measure of a machine, hour by hour."""

    name: str
    cells: tuple[Cell, ...]


def strip(hours: Sequence[Mapping[str, Any]]) -> Strip | None:
    """The scores of the newest hours; None if no hour has ended."""
    scores = [hour["score"] for hour in hours[-HOURS:]]
    if not scores:
        return None
    bands = [_of_score(score) for score in scores]
    named = {"good": "healthy", "fair": "to watch", "poor": "sick"}
    counted = ", ".join(f"{bands.count(b)} {named[b]}" for b in named if b in bands)
    return Strip(tuple(_runs(bands)), f"Of the last {len(scores)} hours {counted}")


def day_of(hours: Sequence[Mapping[str, Any]]) -> tuple[Row, ...]:
    """The last day by score, CPU and memory in use; a measure without any value is left out."""
    rows = (
        Row("Health", tuple(_cell(hour, "score", _of_score) for hour in hours[-HOURS:])),
        Row("CPU in use, %", tuple(_cell(hour, "cpu", _of_use) for hour in hours[-HOURS:])),
        Row("Memory in use, %", tuple(_cell(hour, "memory", _of_use) for hour in hours[-HOURS:])),
    )
    return tuple(row for row in rows if any(cell.value is not None for cell in row.cells))


def _runs(bands: Sequence[str]) -> Iterator[Run]:
    begin = HOURS - len(bands)
    for band, same in groupby(bands):
        length = len(list(same))
        yield Run(band, begin, length)
        begin += length


def _cell(hour: Mapping[str, Any], name: str, band: Any) -> Cell:
    value = hour[name]
    at = datetime.fromtimestamp(hour["hour"] * 3600, UTC)
    return Cell(at, value, "none" if value is None else band(value))


def _of_score(score: float) -> str:
    return "good" if score >= HEALTHY else "fair" if score >= WATCH else "poor"


def _of_use(percent: float) -> str:
    return "poor" if percent >= _FULL else "fair" if percent >= _BUSY else "good"
