"""The machine code of ``surprise`` that decides: how far is a point from what was expected of it?

Nine predictors compete: no season, the time of day, or the time of day and week, each with the
last value, a fast mean or a slow one. The one with the least error recently speaks, chosen again
once a day, so that a fault is not learned as the new way within the hour. What it leaves over, in
its own usual deviations, is ``z``. Nine sizes are taken of it (``CHANNELS``); how rare each is
follows from the largest of past blocks of ``BLOCK`` points: by rank, and beyond them by a Pareto
tail. The largest rarity is compared with a threshold that comes from the series' own past ones.

A series' result depends on nothing but its own points. Sizes are kept as the upper half of a
32-bit float, whose order is that of the numbers and whose difference is that of their logarithms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.compiled import allocation_free_kernel

Row = NDArray[Any]

CHANNELS = 9
ONE, THREE, HOUR, HOURS, DAY, LOUD, QUIET, STILL, SCORE = range(CHANNELS)
BLOCK, KEPT = 12, 12
GROUPS, PEAKS = 2, 12
"""Single points and what lasts: each group has ranked rarities and a threshold of its own."""
WEEK_SLOTS = 84

# Columns of state: ``course`` (float64), ``pace`` (float32), ``tally`` (int32), ``tops`` (int16).
SLOW, FAST, LAST, DRIFT, LEVEL, TOLD_MS = 0, 3, 6, 9, 10, 11
COURSE = 12
ERROR, SPREAD, Z1, Z2, S1, S2, MEANS, ENERGY = 0, 9, 10, 11, 12, 13, 14, 17
LOG_BLOCKS, WEEKS, SHIFT, PEAK, MOVING, HIGHEST, BASE = 18, 19, 20, 21, 22, 23, 25
OPEN_SLOTS = 27
LEAN = 29
PACE = 30
POINTS, BEST, RUN, CHANGES, IN_BLOCK, BLOCKS, HELD, TODAY, FIRING, JUDGED, SLOT, TOLD = range(12)
TALLY = 12
TOPS, OPEN, RANKED = 0, CHANNELS * KEPT, CHANNELS * KEPT + CHANNELS
KEEPS = RANKED + GROUPS * PEAKS

LAST_VALUE = 2
"""The place of the last value among the three predictors of each season."""
DAILY, WEEKLY = 3, 6
"""Predictors from here on know the time of day, and the day of the week."""
SPANS = np.array([1, 1, 1, 3, 12, 3, 3, 1, 1])
"""Blocks that one entry of a channel's largest stands for: slow sizes do not change sooner."""
LASTING = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0])
"""The group of each channel: 1 where one point cannot decide."""
_GAINS = np.array([1 / 6, 1 / 24, 1 / 96])
"""The gains of the running means: over about 12, 48 and 192 points."""
_LOGS = np.array([math.log(at + 0.5) for at in range(KEPT + 1)])
_TYPICAL = np.array([4.0, 3.0, 1.8, 1.2, 0.8, 1.7, 1.7, 8.0, 6.0], dtype=np.float32)
"""The largest of a block on a typical series; believed while there is no history."""
_TYPICAL_CODES = _TYPICAL.view(np.int32) >> 16
_LEAST = np.array([0.0, 0.0, 0.45, 0.25, 0.12, 0.4, 0.4, 0.0, 0.0], dtype=np.float32)
"""Sizes of what lasts below which nothing is rare, however quiet a series was: one point, as far
out as counts at all, leaves less in the means."""
_LEAST_CODES = _LEAST.view(np.int32) >> 16
TWICE = 128
TAIL_BLOCKS = 100
"""Blocks of which the largest kept are the tail, a tenth: before, they are as likely faults."""
_NAT = math.log(2.0) / TWICE
"""Steps of a kept size that double it; nats in one."""
STEPS = 256.0
"""Rarities are kept as whole numbers of this fraction of a nat."""
_WORTH_FORGETTING, _FIRST_RANK = TWICE // 4, 6.0
"""Steps by which a rhythm must explain more; the largest rarity of a week on a typical series."""
_PRIOR_BLOCKS = 25.0
_MIN_MOVING = 1e-9
"""Least share of points that differ from the one before, in the measure of usual deviations."""
_FARTHEST_MOVE, _FARTHEST_LEVEL = 2.0, 1.2
"""The weight of a point in the usual error and distance, where few points move: in usual ones of
these. With less, the usual size of rare events would shrink while nothing happens."""
_LESS_AT_REST = TWICE * 3 // 2
"""Steps by which what lasts may be less in a series that rests, as no single point counts there."""
_FEW_RUNS = 4
"""Runs kept of which a tail can be said."""
_STEEP = 10.0
"""Nats for each e-fold of size above the least by which it may be rarer."""
_LONG_SPAN = 3
_MAX_BEYOND, NEVER = 10.0, 99.0
_NOTHING, NOISE = 0.02, 0.8
"""Mean deviations that are none, and the usual ones of what was just begun."""
_MIN_RUN, _LEARNED = 6, 10
"""Equal values that are a run; points before distances mean something."""
_LARGEST, _SMALLEST = 1e30, 1e-30
_EXTREME = 1e30


@allocation_free_kernel
def within_range(value: float) -> float:
    """The value as far as state of 32 bits holds it: at most 1e30, and 0 below 1e-30."""
    if abs(value) < _SMALLEST:
        return 0.0
    return max(-_LARGEST, min(_LARGEST, value))


@allocation_free_kernel
def leave(course: Row, value: float, seasons: Row, errors: Row) -> None:
    """The errors that each predictor leaves of the value: ``errors`` (9,), three of each season."""
    for season in range(3):
        rest = value - seasons[season]
        drift = course[DRIFT] if season == 0 else 0.0
        errors[3 * season] = rest - course[SLOW + season] - drift
        errors[3 * season + 1] = rest - course[FAST + season] - drift
        errors[3 * season + 2] = rest - course[LAST + season] - drift


@allocation_free_kernel
def expected(course: Row, seasons: Row, best: int) -> float:
    """A predictor's value for this moment."""
    season, kind = best // 3, best % 3
    drift = course[DRIFT] if season == 0 else 0.0
    return float(seasons[season] + course[3 * kind + season] + drift)


@allocation_free_kernel
def choose(pace: Row, tops: Row, blocks: int, best: int) -> int:
    """The predictor with the least error, if clearly less; the slow ones are preferred."""
    before = best
    for at in range(0, 9, 3):
        # A fast one, chosen by chance, would follow a slow fault; it is worse by 2.5 % only.
        if pace[ERROR + at] < pace[ERROR + best]:
            best = at
    for at in range(9):
        if pace[ERROR + at] < 0.93 * pace[ERROR + best]:
            best = at
    if best // 3 > before // 3 and blocks > TAIL_BLOCKS:
        cut = round(math.log(pace[ERROR + before] / max(pace[ERROR + best], 1e-30)) / _NAT)
        if cut > _WORTH_FORGETTING:
            forget(tops, cut)
    return best


@allocation_free_kernel
def forget(tops: Row, cut: int) -> None:
    """Lower what was far out by ``cut`` steps, though not below what is on a typical series.

    The largest distances from a rhythm that was not known yet say nothing of it once it is.
    """
    for channel in range(CHANNELS):
        if channel != STILL:
            for at in range(channel * KEPT, (channel + 1) * KEPT):
                tops[at] = min(tops[at], max(tops[at] - cut, _TYPICAL_CODES[channel]))
    for at in range(PEAKS):
        most = round((_FIRST_RANK - math.log(at + 1.0)) * STEPS)
        for group in range(GROUPS):
            ranked = RANKED + group * PEAKS + at
            tops[ranked] = min(tops[ranked], most)


@allocation_free_kernel
def moving(pace: Row) -> float:
    """The share of points that differ from the one before."""
    return max(_MIN_MOVING, float(pace[MOVING]))


@allocation_free_kernel
def usual(pace: Row, best: int) -> float:
    """The rest that a predictor leaves of a point that moves: for normal noise, its deviation."""
    return float(1.25 * pace[ERROR + best] / moving(pace))


@allocation_free_kernel
def measure(
    pace: Row, tally: Row, z: float, slow: float, level: float, sudden: bool, fresh: Row
) -> None:
    """The running numbers as they are with this point: ``fresh``, in the order of ``pace``.

    Where only what is ``sudden`` counts, those of what lasts stay.
    """
    n = tally[POINTS] + 1
    share = 1.0 / n
    fresh[Z1], fresh[Z2] = max(-20.0, min(20.0, z)), pace[Z1]
    fresh[S1], fresh[S2] = abs(z) + level, pace[S1]
    if sudden:
        for at in range(MEANS, ENERGY + 1):
            fresh[at] = pace[at]
        return
    for at in range(3):
        clipped = max(-4.0, min(4.0, z if at == 0 else slow))
        old = pace[MEANS + at]
        fresh[MEANS + at] = old + (clipped - old) * max(_GAINS[at], share)
    old = pace[ENERGY]
    fresh[ENERGY] = old + (min(abs(z), 4.0) - old) * max(1 / 24, 1.0 / (n + 9))


@allocation_free_kernel
def sizes_of(pace: Row, z: float, run: int, sudden: bool, fresh: Row, sizes: Row) -> float:
    """The nine sizes; returns the sum of the last three ``z``, which has their sign.

    Where only what is ``sudden`` counts, those of what lasts and of the level are none.
    """
    three = fresh[Z1] + fresh[Z2] + pace[Z2]
    sizes[ONE] = min(abs(z), 1e6)
    sizes[THREE] = abs(three) / 3
    for at in range(3):
        sizes[HOUR + at] = abs(fresh[MEANS + at])
    sizes[LOUD] = fresh[ENERGY]
    # Nothing at all is no noise that has become less: it is a run of equal values, or too near.
    sizes[QUIET] = 1 / fresh[ENERGY] if fresh[ENERGY] > _NOTHING else 0.0
    sizes[STILL] = run
    sizes[SCORE] = min((fresh[S1] + fresh[S2] + pace[S2]) / 3, 1e6)
    if sudden:
        for at in range(HOUR, QUIET + 1):
            sizes[at] = 0.0
        sizes[SCORE] = 0.0
    return float(three)


@allocation_free_kernel
def rarity(tops: Row, start: int, held: int, code: int, blocks: int, logs: float) -> float:
    """-log of the share of past blocks whose largest was at least so; a Pareto tail beyond."""
    last = tops[start + held - 1]
    if code <= last:
        if tops[start + held // 2] == last:
            # So many came as far that nobody knows how many more did.
            return 0.0
        # It is none of the rare ones; how far from them, to a quarter of their size.
        return float(max(0.0, (logs - _LOGS[held]) * (1.0 - (last - code) / 256.0)))
    above = 0
    while above < held and tops[start + above] >= code:
        above += 1
    if above > 0:
        return float(logs - _LOGS[above])
    # Hill's estimate, drawn towards a heavy tail while it rests on few blocks.
    first, few = tops[start], min(held - 1, 10)
    prior = 3.0 * min(1.0, 20.0 / max(blocks, 1))
    index = 0.5 * prior
    for at in range(few):
        index += (tops[start + at] - tops[start + few]) * _NAT
    index = max(index / (few + prior), 0.1)
    return float(logs + 0.7 + min(_MAX_BEYOND, (code - first) * _NAT / index))


@allocation_free_kernel
def least_rarity(pace: Row, tally: Row) -> float:
    """Rarity of what is among the largest kept: of a series that rests, nothing is between."""
    trust = tally[BLOCKS] / (tally[BLOCKS] + _PRIOR_BLOCKS)
    return float(max(0.0, trust * (pace[LOG_BLOCKS] - _LOGS[KEPT])))


@allocation_free_kernel
def still(tally: Row, run: int, own: float) -> float:
    """Rarity of a run of equal values: by how often a value follows itself, and by past runs."""
    if run < _MIN_RUN:
        return 0.0
    share = (tally[POINTS] - tally[CHANGES] + 1.0) / (tally[POINTS] + 2.0)
    usual = -run * math.log(share)
    return min(usual, own) if own >= 0 else usual


@allocation_free_kernel
def number(code: int) -> float:
    """The number that a kept size stands for."""
    return math.ldexp(1.0 + (code & 127) / 128.0, (code >> 7) - 127)


@allocation_free_kernel
def beyond_runs(tops: Row, start: int, held: int, run: int, logs: float) -> float:
    """Rarity of a run that is longer than all before, -1 for others; an exponential tail.

    A value that changes by chance has runs of exponential length, whose tail a Pareto tail through
    so few lengths is much too heavy for. Where runs have a heavy tail, their mean excess is long.
    """
    if held < _FEW_RUNS or run <= number(tops[start]):
        return -1.0
    least, excess = number(tops[start + held - 1]), 0.0
    for at in range(held - 1):
        excess += number(tops[start + at]) - least
    excess = max(excess / (held - 1), 1.0)
    return float(logs + 0.7 + min(_MAX_BEYOND, (run - number(tops[start])) / excess))


@allocation_free_kernel
def rarest(
    pace: Row,
    tally: Row,
    tops: Row,
    codes: Row,
    run: int,
    resting: bool,
    found: Row,
    where: Row,
) -> None:
    """The largest rarity of each group's channels, and whose it is."""
    blocks, logs = tally[BLOCKS], pace[LOG_BLOCKS]
    # Two divisions instead of one a channel.
    long, longest = blocks // 3, blocks // 12
    trust = blocks / (blocks + _PRIOR_BLOCKS)
    for group in range(GROUPS):
        found[group], where[group] = 0.0, 0
    for channel in range(CHANNELS):
        start, span, group = TOPS + channel * KEPT, SPANS[channel], LASTING[channel]
        past = blocks if span == 1 else (longest if span > _LONG_SPAN else long)
        code = codes[channel] >> 16
        held = min(past, KEPT)
        if channel == STILL:
            while held > 0 and tops[start + held - 1] == 0:
                held -= 1
        own = rarity(tops, start, held, code, past, logs) if held > 0 else -1.0
        if channel == STILL:
            own = max(own, beyond_runs(tops, start, held, run, logs))
            rare = still(tally, run, own)
        else:
            typical = 3.0 * _NAT * (code - _TYPICAL_CODES[channel])
            if channel == QUIET and tally[CHANGES] <= 1:
                # A value that never moved has no noise that could become less.
                typical = 0.0
            rare = trust * max(own, 0.0) + (1 - trust) * min(max(typical, 0.0), _MAX_BEYOND)
            least = _LEAST_CODES[channel]
            if resting and HOURS <= channel <= DAY:
                least -= _LESS_AT_REST
            rare = min(rare, max(_STEEP * _NAT * (code - least), 0.0))
        if rare > found[group]:
            found[group], where[group] = rare, channel


@allocation_free_kernel
def follow(
    course: Row,
    pace: Row,
    tally: Row,
    value: float,
    seasons: Row,
    errors: Row,
    holiday: bool,
    new_days: bool,
    recurs: bool,
) -> None:
    """Let predictors learn the point; ``new_days`` do not say which is the best on others.

    What ``recurs`` weekly is no part of the means, which would be elsewhere when it is over.
    """
    n = tally[POINTS]
    gain = max(1.0 / max(n, 1), 0.005)
    scale = 5.0 * pace[ERROR + tally[BEST]]
    # Where few points move, each of them is many mean errors large.
    move = 1.0 / moving(pace)
    farthest = max(5.0, _FARTHEST_MOVE * move)
    for at in range(0 if new_days or recurs else (3 if holiday else 9)):
        size, error = abs(errors[at]), pace[ERROR + at]
        if n > _LEARNED and error > 0:
            size = min(size, farthest * error)
        pace[ERROR + at] += gain * (size - error)
    pace[MOVING] += gain * ((1.0 if value != course[LAST] else 0.0) - pace[MOVING])
    away, spread = value - course[LEVEL], pace[SPREAD]
    most = 3.0 * spread if n > _LEARNED and spread > 0 else _EXTREME
    gain = max(1.0 / (n + 1), 0.001)
    course[LEVEL] += gain * max(-most, min(most, away))
    pace[SPREAD] += gain * (min(abs(away), max(most, _FARTHEST_LEVEL * move * spread)) - spread)
    most = scale if n > 2 * _LEARNED else _EXTREME
    drift = course[DRIFT]
    # Bounded around the drift: of steady growth each change is many errors large.
    change = max(-most, min(most, value - course[LAST] - drift))
    course[DRIFT] += max(1.0 / max(n, 1), 0.002) * change
    for season in range(1 if holiday else 3):
        rest = value - seasons[season]
        course[LAST + season] = rest
        if new_days and season > 0:
            continue
        move = drift if season == 0 else 0.0
        if recurs:
            course[SLOW + season] += move
            course[FAST + season] += move
            continue
        course[SLOW + season] += move + max(1.0 / (n + 1), 0.002) * (
            rest - course[SLOW + season] - move
        )
        course[FAST + season] += move + 0.1 * (rest - course[FAST + season] - move)
