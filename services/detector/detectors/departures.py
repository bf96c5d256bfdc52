"""One pass of ``departure_kernel`` over a tick's points: judge each, then let its series learn."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors import departure_blocks as blocks
from services.detector.detectors import departure_kernel as of
from services.detector.detectors.departure_episodes import control, rest, speak
from services.detector.detectors.departure_shape import UNWANTED, shape, way
from shared.compiled import kernel, prefetch

Row = NDArray[Any]

EXPECTED, SCORE, RARITY, THRESHOLD, KIND, WEEKLY, ONSET = range(7)
NUMBERS = 7
"""The numbers that are written of every point, in this order."""

_DAY_MS, _SLOT_MS = 86_400_000, 7_200_000
_EXTREME = 1e30
_FEW, _YOUNG = 5, 100


class Limits(NamedTuple):
    """The detector's settings, as the kernel wants them."""

    floor_absolute: float
    floor_relative: float
    alarms_per_week: float
    min_points: int
    rest_ms: float
    margin: float
    spike: bool
    drop: bool


class Points(NamedTuple):
    """The points of a tick: a row, times, value and so on of each."""

    rows: Row
    time_ms: Row
    local_ms: Row
    holiday: Row
    values: Row
    broken: Row
    floors: Row
    budgets: Row


class Verdicts(NamedTuple):
    """The verdict on every point; ``numbers`` (n, NUMBERS)."""

    numbers: Row
    judged: Row
    anomalous: Row
    direction: Row


class State(NamedTuple):
    """The columns of all series."""

    week: Row
    course: Row
    pace: Row
    tally: Row
    tops: Row


class Scratch(NamedTuple):
    """Room for one point's numbers; ``codes`` are the bits of ``sizes``."""

    seasons: Row
    errors: Row
    fresh: Row
    sizes: Row
    codes: Row
    rarities: Row
    channels: Row


def scratch() -> Scratch:
    """Room for one call."""
    sizes = np.zeros(of.CHANNELS + 1, dtype=np.float32)
    return Scratch(
        np.zeros(3),
        np.zeros(9),
        np.zeros(of.PACE),
        sizes,
        sizes.view(np.int32),
        np.zeros(of.GROUPS),
        np.zeros(of.GROUPS, dtype=np.int64),
    )


@kernel
def away(
    course: Row, pace: Row, tally: Row, errors: Row, value: float, floor: float, best: int
) -> tuple[float, float]:
    """How far from what was expected, and from the level, in the series' usual deviations.

    Those of the points that move: a series of zeros with a few ones is usually one off when it
    moves at all, however long it rests between.
    """
    level = abs(value - course[of.LEVEL])
    tiny = 1e-9 * (abs(value) + abs(course[of.LAST]))
    usual = max(of.usual(pace, best), tiny)
    z, far = 0.0, 0.0
    if tally[of.POINTS] >= _FEW and usual > 0 and abs(errors[best]) >= floor:
        z = max(-1e6, min(1e6, errors[best] / usual))
    if tally[of.POINTS] >= 2 * _FEW and pace[of.SPREAD] > tiny and level >= floor:
        far = min(level * of.moving(pace) / pace[of.SPREAD], 1e6)
    return z, far


@kernel
def look(
    week: Row, course: Row, daily: float, place: tuple[int, int, float], value: float, room: Scratch
) -> None:
    """The seasons' values for this moment, and the error that each predictor leaves."""
    first, second, share = place
    seasons = room.seasons
    seasons[0] = 0.0
    seasons[1] = course[of.SLOW] if math.isnan(daily) else daily
    seasons[2] = seasons[1] + (1 - share) * week[first] + share * week[second]
    of.leave(course, value, seasons, room.errors)


@kernel
def season(week: Row, place: tuple[int, int, float], left: float, step_ms: float) -> None:
    """Let the two slots of the week learn what the time of day left over."""
    first, second, share = place
    gain = min(step_ms / _SLOT_MS, 1.0)
    gain = 1.5 * gain / (1 + gain)
    left -= (1 - share) * week[first] + share * week[second]
    week[first] += gain * (1 - share) * left
    week[second] += gain * share * left


@kernel
def learn(
    state: State,
    at: int,
    value: float,
    place: tuple[int, int, float],
    holiday: bool,
    step_ms: float,
    day: int,
    weekly: float,
    room: Scratch,
) -> None:
    """Let predictors, seasons and blocks learn the point."""
    course, pace, tally = state.course[at], state.pace[at], state.tally[at]
    tally[of.RUN] = tally[of.RUN] + 1 if value == course[of.LAST] else 0
    if tally[of.RUN] == 0:
        tally[of.CHANGES] = min(tally[of.CHANGES] + 1, 1_000_000_000)
    of.follow(course, pace, tally, value, room.seasons, room.errors, holiday)
    if not holiday and tally[of.POINTS] * step_ms > _DAY_MS:
        season(state.week[at], place, value - room.seasons[1], step_ms)
    if tally[of.IN_BLOCK] >= of.BLOCK:
        blocks.close(pace, tally, state.tops[at], weekly, step_ms, day == tally[of.JUDGED])
        tally[of.JUDGED] = day
    if day != tally[of.TODAY] or (tally[of.POINTS] < _YOUNG and tally[of.IN_BLOCK] == 0):
        tally[of.TODAY] = day
        tally[of.BEST] = of.choose(pace, state.tops[at], tally[of.BLOCKS], tally[of.BEST])
    tally[of.POINTS] = min(tally[of.POINTS] + 1, 1_000_000_000)


@kernel
def fetch(state: State, row: int) -> None:
    """Begin to fetch a series' state."""
    prefetch(state.week, row)
    prefetch(state.course, row)
    prefetch(state.pace, row)
    prefetch(state.tally, row)
    prefetch(state.tops, row)


@kernel
def start(course: Row, pace: Row, tally: Row, value: float, day: int) -> None:
    """Learn the first point of a series."""
    course[of.SLOW] = course[of.FAST] = course[of.LAST] = course[of.LEVEL] = value
    course[of.TOLD_MS], pace[of.ENERGY] = -_EXTREME, of.NOISE
    pace[of.MOVING] = 1.0
    pace[of.BASE : of.BASE + of.GROUPS] = of.NEVER
    tally[of.POINTS], tally[of.TODAY], tally[of.CHANGES] = 1, day, 1


@kernel
def size_up(
    state: State,
    at: int,
    daily: float,
    place: tuple[int, int, float],
    value: float,
    least: float,
    holiday: bool,
    room: Scratch,
) -> tuple[int, int, float, float]:
    """The point's sizes, to ``room``; which predictor spoke, the run of equal values, and which
    way this point and the newest three went.
    """
    course, pace, tally = state.course[at], state.pace[at], state.tally[at]
    look(state.week[at], course, daily, place, value, room)
    best = tally[of.BEST] % 3 if holiday else tally[of.BEST]
    z, far = away(course, pace, tally, room.errors, value, least, best)
    # The last value knows a new level at once, the slow mean of its season only after a day.
    slow = z
    if tally[of.BLOCKS] > of.TAIL_BLOCKS:
        slow, _ = away(course, pace, tally, room.errors, value, least, best - best % 3)
    of.measure(pace, tally, z, slow, far, room.fresh)
    run = tally[of.RUN] + 1 if value == course[of.LAST] else 0
    three = of.sizes_of(pace, z, run, room.fresh, room.sizes)
    room.sizes[of.CHANNELS] = tally[of.RUN]
    return best, run, z, three


@kernel
def weigh(state: State, at: int, run: int, room: Scratch) -> tuple[float, float, int]:
    """Rarity, threshold and channel of the group that is nearest to its threshold, or beyond."""
    pace, tally, tops = state.pace[at], state.tally[at], state.tops[at]
    of.rarest(pace, tally, tops, room.codes, run, room.rarities, room.channels)
    rarest, passes, where = 0.0, of.NEVER, 0
    for group in range(of.GROUPS):
        needed = pace[of.BASE + group] + pace[of.SHIFT]
        if room.rarities[group] - needed > rarest - passes:
            rarest, passes, where = room.rarities[group], needed, room.channels[group]
    return rarest, passes, where


@kernel
def begin(
    state: State, at: int, value: float, day: int, learning: bool, i: int, said: Verdicts
) -> None:
    """Take a series' first point, of which nothing can be said."""
    said.numbers[i] = 0.0
    said.numbers[i, EXPECTED], said.numbers[i, THRESHOLD] = value, of.NEVER
    said.judged[i], said.anomalous[i], said.direction[i] = False, False, 0
    if learning:
        start(state.course[at], state.pace[at], state.tally[at], value, day)


@kernel
def step(
    state: State,
    memory: Row,
    daily_at: int,
    slots: int,
    steps: Row,
    points: Points,
    rules: Limits,
    room: Scratch,
    learning: bool,
    said: Verdicts,
) -> None:
    """Judge every point, and learn it if ``learning``.

    ``memory`` holds the ``slots`` of the day from ``daily_at`` on, ``steps`` the usual distance of
    points.
    """
    for i in range(len(points.rows)):
        at, time_ms, local_ms = points.rows[i], points.time_ms[i], points.local_ms[i]
        if i + 1 < len(points.rows):
            fetch(state, points.rows[i + 1])
        value, day = max(-_EXTREME, min(_EXTREME, points.values[i])), local_ms // _DAY_MS
        course, pace, tally = state.course[at], state.pace[at], state.tally[at]
        if tally[of.POINTS] == 0:
            begin(state, at, value, day, learning, i, said)
            continue
        daily = memory[at, daily_at : daily_at + slots]
        now = daily[(local_ms % _DAY_MS) * slots // _DAY_MS]
        place, holiday = of.week_place(local_ms), points.holiday[i]
        least = rules.floor_relative * abs(course[of.LEVEL])
        least = max(points.floors[i], rules.floor_absolute, least)
        best, run, z, three = size_up(state, at, now, place, value, least, holiday, room)
        budget = points.budgets[i]
        weekly = rules.alarms_per_week if math.isnan(budget) else budget
        rarest, passes, where = weigh(state, at, run, room)
        onset, going_on = speak(course, tally, rarest, passes, time_ms, rules.rest_ms)
        lean = way(where, z, three, room.fresh, rules.spike, rules.drop)
        judged = tally[of.POINTS] >= rules.min_points and not points.broken[i]
        told = judged and lean != UNWANTED and (onset or going_on)
        number = said.numbers[i]
        number[EXPECTED] = of.expected(course, room.seasons, best)
        if told:
            where = shape(where, pace, daily, value, number[EXPECTED], best)
        said.judged[i], said.anomalous[i], said.direction[i] = judged, told, lean if told else 0
        number[SCORE], number[RARITY], number[THRESHOLD] = room.sizes[of.SCORE], rarest, passes
        number[KIND], number[WEEKLY], number[ONSET] = where, weekly, told and onset
        if not learning:
            continue
        if rarest >= passes and judged:
            rest(course, pace, rarest, time_ms, rules.rest_ms, rules.margin)
        tally[of.FIRING] = told
        opened, passed, tops = told and onset, rarest >= passes, state.tops[at]
        control(pace, tally, opened, weekly, steps[at])
        blocks.account(
            pace, tally, tops, room.codes, room.fresh, room.rarities, passed, opened, run == 0
        )
        learn(state, at, value, place, holiday, steps[at], day, weekly, room)
