"""One pass of ``departure_kernel`` over a tick's points: judge each, then let its series learn."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of
from services.detector.detectors.departure_shape import UNWANTED, shape, way
from shared.compiled import kernel, prefetch

Row = NDArray[Any]

EXPECTED, SCORE, RARITY, THRESHOLD, KIND, WEEKLY, ONSET = range(7)
NUMBERS = 7
"""What is written of every point, in this order."""

_DAY_MS, _WEEK_MS, _SLOT_MS = 86_400_000, 604_800_000, 7_200_000
_EXTREME = 1e30
_SHIFT, _MOST_SHIFT = 1.0, 2.0
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


def scratch() -> Scratch:
    """Room for one call."""
    sizes = np.zeros(of.CHANNELS + 1, dtype=np.float32)
    return Scratch(np.zeros(3), np.zeros(9), np.zeros(of.PACE), sizes, sizes.view(np.int32))


@kernel
def away(
    course: Row, pace: Row, tally: Row, errors: Row, value: float, floor: float, best: int
) -> tuple[float, float]:
    """How far from what was expected, and from the level, in the series' usual deviations."""
    level = abs(value - course[of.LEVEL])
    tiny = 1e-9 * (abs(value) + abs(course[of.LAST]))
    usual = max(1.25 * pace[of.ERROR + best], tiny)
    z, far = 0.0, 0.0
    if tally[of.POINTS] >= _FEW and usual > 0 and abs(errors[best]) >= floor:
        z = max(-1e6, min(1e6, errors[best] / usual))
    if tally[of.POINTS] >= 2 * _FEW and pace[of.SPREAD] > tiny and level >= floor:
        far = min(level / pace[of.SPREAD], 1e6)
    return z, far


@kernel
def look(
    week: Row, course: Row, daily: float, place: tuple[int, int, float], value: float, room: Scratch
) -> None:
    """What the seasons make of this moment, and what each predictor leaves of the value."""
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
def account(
    pace: Row, tally: Row, tops: Row, room: Scratch, rarest: float, told: bool, ended: bool
) -> None:
    """Make the point part of the block that is going on; keep the running numbers."""
    for channel in range(of.CHANNELS):
        code = room.codes[channel] >> 16
        # What is told does not become usual by its size, only by how often it is told.
        if channel != of.STILL and not told and code > tops[of.OPEN + channel]:
            tops[of.OPEN + channel] = code
    code = room.codes[of.CHANNELS] >> 16
    if ended and code > tops[of.OPEN + of.STILL]:
        tops[of.OPEN + of.STILL] = code
    pace[of.HIGHEST] = max(pace[of.HIGHEST], rarest)
    for at in range(of.Z1, of.ENERGY + 1):
        pace[at] = room.fresh[at]
    tally[of.IN_BLOCK] += 1


@kernel
def control(pace: Row, tally: Row, onset: bool, weekly: float, step_ms: float) -> None:
    """Shift the threshold up with every alarm, and down with the time that the budget gives it."""
    trust = tally[of.BLOCKS] / (tally[of.BLOCKS] + of.TRUST_BLOCKS)
    pull = _SHIFT * trust * trust
    shift = pace[of.SHIFT] - pull * weekly * min(step_ms, 3_600_000.0) / _WEEK_MS
    if onset:
        shift += pull
    pace[of.SHIFT] = max(-_MOST_SHIFT, min(_MOST_SHIFT, shift))


@kernel
def speak(
    course: Row, tally: Row, rarest: float, passes: float, time_ms: int, rest_ms: float
) -> tuple[bool, bool]:
    """Whether an episode begins with this point, and whether one is going on."""
    if rarest < passes:
        return False, tally[of.FIRING] > 0 and rarest >= passes / 2
    # Within the rest it is the same episode; one that has ended does not begin again.
    resting = time_ms - course[of.TOLD_MS] <= rest_ms
    return not resting, tally[of.FIRING] > 0


@kernel
def learn(
    state: State,
    at: int,
    value: float,
    place: tuple[int, int, float],
    holiday: bool,
    step_ms: float,
    day: int,
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
        of.close(pace, tally, state.tops[at], of.BLOCK * step_ms / _WEEK_MS)
    if day != tally[of.TODAY] or (tally[of.POINTS] < _YOUNG and tally[of.IN_BLOCK] == 0):
        tally[of.TODAY] = day
        tally[of.BEST] = of.choose(pace, tally[of.BEST])
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
    tally[of.POINTS], tally[of.TODAY], tally[of.CHANGES] = 1, day, 1


@kernel
def rest(course: Row, pace: Row, rarest: float, time_ms: int, rules: Limits) -> None:
    """Let the rest begin, or begin anew with what is clearly rarer."""
    resting = time_ms - course[of.TOLD_MS] <= rules.rest_ms
    if not resting or rarest > pace[of.PEAK] + rules.margin:
        course[of.TOLD_MS], pace[of.PEAK] = time_ms, rarest


@kernel
def step(
    state: State,
    memory: Row,
    daily_at: int,
    slots: int,
    steps: Row,
    rows: Row,
    time_ms: Row,
    local_ms: Row,
    holiday: Row,
    values: Row,
    broken: Row,
    floors: Row,
    budgets: Row,
    rules: Limits,
    room: Scratch,
    learning: bool,
    numbers: Row,
    judged: Row,
    anomalous: Row,
    direction: Row,
) -> None:
    """Judge every point, and learn it if ``learning``.

    ``memory`` holds the ``slots`` of the day from ``daily_at`` on, ``steps`` the usual distance of
    points. Writes ``numbers`` (n, NUMBERS), ``judged``, ``anomalous`` and ``direction`` (n,).
    """
    for i in range(len(rows)):
        at = rows[i]
        if i + 1 < len(rows):
            fetch(state, rows[i + 1])
        course, pace, tally, tops = (
            state.course[at],
            state.pace[at],
            state.tally[at],
            state.tops[at],
        )
        value = max(-_EXTREME, min(_EXTREME, values[i]))
        day, number = local_ms[i] // _DAY_MS, numbers[i]
        if tally[of.POINTS] == 0:
            number[:] = 0.0
            number[EXPECTED], number[THRESHOLD] = value, of.NEVER
            judged[i], anomalous[i], direction[i] = False, False, 0
            if learning:
                start(course, pace, tally, value, day)
            continue
        daily = memory[at, daily_at + (local_ms[i] % _DAY_MS) * slots // _DAY_MS]
        place = of.week_place(local_ms[i])
        look(state.week[at], course, daily, place, value, room)
        floor = max(floors[i], rules.floor_absolute, rules.floor_relative * abs(course[of.LEVEL]))
        best = tally[of.BEST] % 3 if holiday[i] else tally[of.BEST]
        z, far = away(course, pace, tally, room.errors, value, floor, best)
        of.measure(pace, tally, z, far, room.fresh)
        run = tally[of.RUN] + 1 if value == course[of.LAST] else 0
        three = of.sizes_of(pace, z, run, room.fresh, room.sizes)
        room.sizes[of.CHANNELS] = tally[of.RUN]
        rarest, where = of.rarest(pace, tally, tops, room.codes, run)
        weekly = rules.alarms_per_week if math.isnan(budgets[i]) else budgets[i]
        passes = of.threshold(pace, tally, tops, weekly)
        onset, going_on = speak(course, tally, rarest, passes, time_ms[i], rules.rest_ms)
        lean = way(where, z, three, room.fresh, rules.spike, rules.drop)
        judged[i] = tally[of.POINTS] >= rules.min_points and not broken[i]
        told = judged[i] and lean != UNWANTED and (onset or going_on)
        anomalous[i], direction[i] = told, lean if told else 0
        number[EXPECTED] = of.expected(course, room.seasons, best)
        number[SCORE] = room.sizes[of.SCORE]
        if told:
            slots_here = memory[at, daily_at : daily_at + slots]
            where = shape(where, pace, slots_here, value, number[EXPECTED], best)
        number[RARITY], number[THRESHOLD], number[KIND] = rarest, passes, where
        number[WEEKLY], number[ONSET] = weekly, 1.0 if told and onset else 0.0
        if not learning:
            continue
        if rarest >= passes and judged[i]:
            rest(course, pace, rarest, time_ms[i], rules)
        tally[of.FIRING] = told
        control(pace, tally, told and onset, weekly, steps[at])
        account(pace, tally, tops, room, rarest, rarest >= passes, run == 0)
        learn(state, at, value, place, holiday[i], steps[at], day, room)
