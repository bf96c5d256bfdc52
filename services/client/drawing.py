"""A job's timeline as bars over time, one row for the job and one for each member; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.client.description import Description
from services.client.records import ENDED, Moment
from services.client.spans import span

MAX_ROWS = 24
WIDTH, LABEL, RIGHT, ROW, TOP = 1000, 130, 30, 24, 8
_PHASES = {
    "accepted": "waiting",
    "starting": "waiting",
    "pending": "pending",
    "reported": "reported",
    "started": "running",
    "running": "running",
    "retrying": "retrying",
}
_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400)
_MAX_TICKS = 8
_MIN_S = 1.0


@dataclass(frozen=True)
class Bar:
    """A phase; ``x`` and ``width`` in units of the drawing."""

    x: float
    width: float
    phase: str
    title: str
    begin: datetime


@dataclass(frozen=True)
class Mark:
    """An end, ``ended`` or ``failed``."""

    x: float
    how: str
    title: str


@dataclass(frozen=True)
class Row:
    """The job's or a member's phases and ends."""

    name: str
    y: float
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Tick:
    """A time after the beginning."""

    x: float
    text: str


@dataclass(frozen=True)
class Drawing:
    """The complete drawing; ``more`` members have no row."""

    height: float
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    more: int
    width: int = WIDTH
    label: int = LABEL
    bar_height: int = ROW - 8


def draw(described: Description, noted: Iterable[Moment]) -> Drawing | None:
    """Draw a job's timeline; None while nothing was noted."""
    moments = sorted(noted, key=lambda m: m.at)
    if not moments:
        return None
    over = described.job.state in ENDED
    begin = moments[0].at
    last = moments[-1].at if over else max(described.now, moments[-1].at)
    seconds = max((last - begin).total_seconds(), _MIN_S)
    scale = (WIDTH - LABEL - RIGHT) / seconds
    own: dict[str, list[Moment]] = {m.name: [] for m in described.members[:MAX_ROWS]}
    of_job: list[Moment] = []
    for moment in moments:
        if moment.kind == "gathered":
            continue  # no phase of its own begins with it
        (own.get(moment.member, []) if moment.member else of_job).append(moment)

    def row(number: int, name: str, events: Sequence[Moment]) -> Row:
        return _row(name, TOP + number * ROW, events, begin, last, scale)

    names = sorted(own, key=_natural)
    rows = [row(0, "job", of_job), *(row(n, name, own[name]) for n, name in enumerate(names, 1))]
    step = next((s for s in _STEPS_S if seconds / s <= _MAX_TICKS), seconds / _MAX_TICKS)
    ticks = [
        Tick(LABEL + n * step * scale, f"+{_round_span(n * step)}" if n else "0")
        for n in range(int(seconds / step) + 1)
    ]
    height = TOP + len(rows) * ROW + 20
    return Drawing(height, tuple(rows), tuple(ticks), described.members_total - len(own))


def _row(
    name: str, y: float, events: Sequence[Moment], begin: datetime, last: datetime, scale: float
) -> Row:
    bars: list[Bar] = []
    marks: list[Mark] = []
    for number, event in enumerate(events):
        x = LABEL + (event.at - begin).total_seconds() * scale
        until = events[number + 1].at if number + 1 < len(events) else last
        if phase := _PHASES.get(event.kind):
            lasted = (until - event.at).total_seconds()
            text = f"{event.kind} for {span(lasted)} {event.text}".rstrip()
            bars.append(Bar(x, max(lasted * scale, 1.0), phase, text, event.at))
        else:
            good = event.kind == "succeeded" or event.text.startswith("exit code 0")
            how = "ended" if good else "failed"
            marks.append(Mark(x, how, f"{event.kind}: {event.text}"))
    return Row(name, y, tuple(bars), tuple(marks))


def _natural(name: str) -> tuple[str, int]:
    role, _, index = name.rpartition("-")
    return role, int(index)


def _round_span(seconds: float) -> str:
    """The span in full minutes and hours, at which ticks are, e.g. ``10m``."""
    return span(seconds).removesuffix("00s").removesuffix("00m")
