"""One pass of ``departure_kernel`` over a tick's points: judge each, then let its series learn."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_blocks as blocks
from services.detector.detectors import departure_kernel as of
from services.detector.detectors import departure_week as weeks
from services.detector.detectors.departure_episodes import control, rest, speak
from services.detector.detectors.departure_height import lean, learn_lean
from services.detector.detectors.departure_returns import RESTS, learn_rest, overlook, restart
from services.detector.detectors.departure_shape import UNWANTED, shape, way
from services.detector.detectors.departure_tables import (
    Limits,
    Points,
    Scratch,
    State,
    Verdicts,
    scratch,
)
from shared.compiled import allocation_free_kernel, prefetch

__all__ = ["Limits", "Points", "State", "Verdicts", "scratch", "step"]

Row = NDArray[Any]

EXPECTED, SCORE, RARITY, THRESHOLD, KIND, WEEKLY, ONSET = range(7)
NUMBERS = 7
"""The numbers that are written of every point, in this order."""

_DAY_MS = 86_400_000
_EXTREME = 1e30
_FEW, _YOUNG = 5, 100
_LEAST = 2.0
"""Nats below which nothing is rare, whatever the threshold says: a value that never moved stays
just below it."""
_REST_POINTS = 5
"""A rest lasts so many points at least: at daily steps one of ten hours would be none."""


@allocation_free_kernel
def away(
    course: Row, pace: Row, tally: Row, error: float, usual: float, value: float, floor: float
) -> tuple[float, float]:
    """The distances from what was expected and from the level, in the series' usual deviations.

    Those of the points that move: a series of zeros with a few ones is usually one off when it
    moves at all, however long it rests between.
    """
    level = abs(value - course[of.LEVEL])
    tiny = 1e-9 * (abs(value) + abs(course[of.LAST]))
    usual = max(usual, tiny)
    z, far = 0.0, 0.0
    if tally[of.POINTS] >= _FEW and usual > 0 and abs(error) >= floor:
        z = max(-1e6, min(1e6, error / usual))
    if tally[of.POINTS] >= 2 * _FEW and pace[of.SPREAD] > tiny and level >= floor:
        far = min(level * of.moving(pace) / pace[of.SPREAD], 1e6)
    return z, far


@allocation_free_kernel
def look(
    week: Row, course: Row, daily: float, place: tuple[int, int, float], value: float, room: Scratch
) -> None:
    """The seasons' values for this moment, and the error that each predictor leaves."""
    seasons = room.seasons
    seasons[0] = 0.0
    seasons[1] = course[of.SLOW] if math.isnan(daily) else daily
    seasons[2] = seasons[1] + weeks.part(week, place, 0)
    of.leave(course, value, seasons, room.errors)


@allocation_free_kernel
def learn(
    state: State,
    at: int,
    value: float,
    place: tuple[int, int, float],
    holiday: bool,
    new_days: bool,
    recurs: bool,
    step_ms: float,
    age_ms: float,
    day: int,
    weekly: float,
    room: Scratch,
) -> None:
    """Let predictors, seasons and blocks learn the point."""
    course, pace, tally = state.course[at], state.pace[at], state.tally[at]
    tally[of.RUN] = tally[of.RUN] + 1 if value == course[of.LAST] else 0
    if tally[of.RUN] == 0:
        tally[of.CHANGES] = min(tally[of.CHANGES] + 1, 1_000_000_000)
    best = tally[of.BEST]
    if best >= of.DAILY and not (holiday or new_days or recurs) and weeks.midweek(day):
        error = room.errors[best]
        learn_lean(course, pace, value - error, error, pace[of.ERROR + best])
    of.follow(course, pace, tally, value, room.seasons, room.errors, holiday, new_days, recurs)
    if not holiday and tally[of.POINTS] * step_ms > _DAY_MS:
        left = value - room.seasons[1]
        if weeks.fine(step_ms):
            weeks.season(state.week[at], pace, tally, place, left, step_ms, age_ms)
        else:
            weeks.season_of_few(state.week[at], place, left, step_ms)
    if tally[of.IN_BLOCK] >= of.BLOCK:
        blocks.close(pace, tally, state.tops[at], weekly, step_ms, day == tally[of.JUDGED])
        tally[of.JUDGED] = day
    if day != tally[of.TODAY] or (tally[of.POINTS] < _YOUNG and tally[of.IN_BLOCK] == 0):
        if day != tally[of.TODAY]:
            learn_rest(state.returns[at], pace, tally)
        tally[of.TODAY] = day
        tally[of.BEST] = of.choose(pace, state.tops[at], tally[of.BLOCKS], tally[of.BEST])
    tally[of.POINTS] = min(tally[of.POINTS] + 1, 1_000_000_000)


@allocation_free_kernel
def fetch(state: State, row: int) -> None:
    """Begin to fetch a series' state."""
    prefetch(state.week, row)
    prefetch(state.course, row)
    prefetch(state.pace, row)
    prefetch(state.tally, row)
    prefetch(state.tops, row)


@allocation_free_kernel
def start(course: Row, pace: Row, tally: Row, value: float, day: int) -> None:
    """Learn the first point of a series."""
    course[of.SLOW] = course[of.FAST] = course[of.LAST] = course[of.LEVEL] = value
    course[of.TOLD_MS], pace[of.ENERGY] = -_EXTREME, of.NOISE
    pace[of.MOVING] = 1.0
    for group in range(of.GROUPS):
        pace[of.BASE + group] = of.NEVER
    tally[of.POINTS], tally[of.TODAY], tally[of.CHANGES] = 1, day, 1


@allocation_free_kernel
def lasts(
    course: Row,
    pace: Row,
    tally: Row,
    error: float,
    calm: int,
    leans: float,
    resting: bool,
    value: float,
    floor: float,
) -> float:
    """The error of the slow predictor ``calm``, in its usual deviations.

    Of a series that rests it is what this point and the one before have in common, in the
    deviations of the best predictor: an event of one point does not last, whatever its size, and a
    step lasts, also one smaller than the events.
    """
    scale = leans * of.usual(pace, calm)
    if not resting:
        slow, _ = away(course, pace, tally, error, scale, value, floor)
        return slow
    scale = min(scale, leans * of.usual(pace, tally[of.BEST]))
    slow, _ = away(course, pace, tally, error, scale, value, floor)
    season = calm // 3
    error = course[of.LAST + season] - course[of.SLOW + season]
    before, _ = away(course, pace, tally, error, scale, value, floor)
    if before * slow <= 0:
        return 0.0
    return before if abs(before) < abs(slow) else slow


@allocation_free_kernel
def size_up(
    state: State,
    at: int,
    daily: float,
    place: tuple[int, int, float],
    value: float,
    least: float,
    local_ms: int,
    holiday: bool,
    new_days: bool,
    step_ms: float,
    room: Scratch,
) -> tuple[int, int, float, float]:
    """The point's sizes, to ``room``; which predictor spoke, the run of equal values, and which
    way this point and the newest three went.
    """
    course, pace, tally, errors = state.course[at], state.pace[at], state.tally[at], room.errors
    look(state.week[at], course, daily, place, value, room)
    best = tally[of.BEST] % 3 if holiday else tally[of.BEST]
    speaker = weeks.speaker(errors, best, local_ms, new_days, step_ms)
    scale = of.usual(pace, of.WEEKLY - 1 if new_days else speaker)
    leans = 1.0
    if speaker >= of.DAILY and not new_days and weeks.fine(step_ms):
        leans = lean(course, pace, value - errors[speaker])
    scale *= leans
    z, far = away(course, pace, tally, errors[speaker], scale, value, least)
    # The last value knows a new level at once, the slow mean of its season only after a day.
    slow = z
    if tally[of.BLOCKS] > of.TAIL_BLOCKS and not new_days:
        calm = speaker - speaker % 3
        resting = state.returns[at, RESTS] > 0
        slow = lasts(course, pace, tally, errors[calm], calm, leans, resting, value, least)
    of.measure(pace, tally, z, slow, far, new_days, room.fresh)
    run = tally[of.RUN] + 1 if value == course[of.LAST] else 0
    three = of.sizes_of(pace, z, run, new_days, room.fresh, room.sizes)
    room.sizes[of.CHANNELS] = tally[of.RUN]
    return speaker, run, z, three


@allocation_free_kernel
def weekly_job(
    state: State,
    at: int,
    value: float,
    place: tuple[int, int, float],
    speaker: int,
    steps_are_fine: bool,
    room: Scratch,
) -> bool:
    """Return whether this time of the week had such a departure; it then counts as no point."""
    pace = state.pace[at]
    # A last value as the best predictor has no level that a job could stand out from.
    if speaker >= of.WEEKLY or (steps_are_fine and speaker % 3 == of.LAST_VALUE):
        return False
    error, usual = room.errors[speaker], of.usual(pace, speaker)
    left = value - room.seasons[1]
    if not weeks.recurs(state.week[at], place, left, error, usual, steps_are_fine):
        return False
    overlook(pace, room)
    return True


@allocation_free_kernel
def weigh(state: State, at: int, run: int, room: Scratch) -> tuple[float, float, int]:
    """Rarity, threshold and channel of the group that is nearest to its threshold, or beyond."""
    pace, tally, tops = state.pace[at], state.tally[at], state.tops[at]
    resting = state.returns[at, RESTS] > 0
    of.rarest(pace, tally, tops, room.codes, run, resting, room.rarities, room.channels)
    rarest, passes, where = 0.0, of.NEVER, 0
    for group in range(of.GROUPS):
        needed = max(_LEAST, pace[of.BASE + group] + pace[of.SHIFT])
        if room.rarities[group] - needed > rarest - passes:
            rarest, passes, where = room.rarities[group], needed, room.channels[group]
    return rarest, passes, where


@allocation_free_kernel
def begin(
    state: State, at: int, value: float, day: int, learning: bool, i: int, said: Verdicts
) -> None:
    """Take a series' first point, of which nothing can be said."""
    for at_number in range(NUMBERS):
        said.numbers[i, at_number] = 0.0
    said.numbers[i, EXPECTED], said.numbers[i, THRESHOLD] = value, of.NEVER
    said.judged[i], said.anomalous[i], said.direction[i] = False, False, 0
    if learning:
        start(state.course[at], state.pace[at], state.tally[at], value, day)


@allocation_free_kernel
def step(
    state: State,
    memory: Row,
    daily_at: int,
    slots: int,
    steps: Row,
    began: Row,
    points: Points,
    rules: Limits,
    room: Scratch,
    learning: bool,
    said: Verdicts,
) -> None:
    """Judge every point, and learn it if ``learning``.

    ``memory`` holds the ``slots`` of the day from ``daily_at`` on, ``steps`` the usual distance of
    points, ``began`` the time of the first.
    """
    for i in range(len(points.rows)):
        at, time_ms, local_ms = points.rows[i], points.time_ms[i], points.local_ms[i]
        if i + 1 < len(points.rows):
            fetch(state, points.rows[i + 1])
        value, day = of.within_range(points.values[i]), local_ms // _DAY_MS
        course, pace, tally = state.course[at], state.pace[at], state.tally[at]
        if tally[of.POINTS] == 0:
            begin(state, at, value, day, learning, i, said)
            continue
        daily = memory[at, daily_at : daily_at + slots]
        now = daily[(local_ms % _DAY_MS) * slots // _DAY_MS]
        place, holiday = weeks.week_place(local_ms), points.holiday[i]
        least = rules.floor_relative * abs(course[of.LEVEL])
        least = max(points.floors[i], rules.floor_absolute, least)
        age_ms = time_ms - began[at]
        now -= weeks.mixed(state.week[at], place, local_ms, steps[at], age_ms)
        new_days = tally[of.BEST] >= of.DAILY and not holiday and weeks.fine(steps[at])
        new_days = new_days and weeks.unseen(local_ms, age_ms)
        best, run, z, three = size_up(
            state, at, now, place, value, least, local_ms, holiday, new_days, steps[at], room
        )
        budget = points.budgets[i]
        weekly = rules.alarms_per_week if math.isnan(budget) else budget
        rarest, passes, where = weigh(state, at, run, room)
        recurs = weeks.known(steps[at]) and not holiday
        recurs = recurs and weekly_job(state, at, value, place, best, weeks.fine(steps[at]), room)
        if restart(state, at, value, best, learning, room):
            recurs = True
        rarest = 0.0 if recurs else rarest
        rest_ms = max(rules.rest_ms, _REST_POINTS * steps[at])
        onset, going_on = speak(course, pace, tally, rarest, passes, time_ms, rest_ms)
        lean = way(where, z, three, room.fresh, rules.spike, rules.drop)
        # How little noise is usual is known of the series' own past alone: a constant has none.
        unknown = where == of.QUIET and tally[of.BLOCKS] <= of.TAIL_BLOCKS
        judged = tally[of.POINTS] >= rules.min_points and not points.broken[i]
        told = judged and not unknown and lean != UNWANTED and (onset or going_on)
        number = said.numbers[i]
        number[EXPECTED] = of.expected(course, room.seasons, best)
        if told:
            where = shape(where, pace, daily, value, number[EXPECTED], best)
        said.judged[i], said.anomalous[i], said.direction[i] = judged, told, lean if told else 0
        number[SCORE], number[RARITY], number[THRESHOLD] = room.sizes[of.SCORE], rarest, passes
        number[KIND], number[WEEKLY], number[ONSET] = where, weekly, told and onset
        if not learning:
            continue
        if rarest >= passes and judged and not unknown:
            rest(course, pace, rarest, time_ms, rest_ms, rules.margin)
        tally[of.FIRING] = told
        opened, passed, tops = told and onset, rarest >= passes or recurs, state.tops[at]
        repeats = control(pace, tally, opened, weekly, steps[at], age_ms)
        blocks.account(
            pace,
            tally,
            tops,
            room.codes,
            room.fresh,
            room.rarities,
            passed,
            opened,
            repeats,
            run == 0,
        )
        learn(
            state,
            at,
            value,
            place,
            holiday,
            new_days,
            recurs,
            steps[at],
            age_ms,
            day,
            weekly,
            room,
        )
