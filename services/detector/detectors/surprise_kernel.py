"""The machine code of ``surprise``: one pass over a tick's points, a row of state each.

A row of ``memory`` (float32, NaN where nothing is yet) is cut as below; ``counts`` (int32) and
``exact`` (float64) hold the rest. Nothing here allocates, and a series' result depends on nothing
but its own points.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel, prefetch

Row = NDArray[Any]

VIEWS = 6
KEPT = 32
VALUES, MEANS = 128, 64
DAY_SLOTS, WEEK_SLOTS = 96, 168
RING, SHORT, SMOOTH, LIFTS = 64, 4, 8, 10

BANK = 0
BANK_MEANS = BANK + VALUES
TOP = BANK_MEANS + MEANS
DAILY = TOP + VIEWS * KEPT
WEEKLY = DAILY + DAY_SLOTS
LAST = WEEKLY + WEEK_SLOTS
RESIDUALS = LAST + RING
LIFT = RESIDUALS + SMOOTH
MEMORY = LIFT + LIFTS

N_VALUES, N_MEANS, LEARNED, RUN, SINCE, FIRING, FILLED, N_RESIDUALS = range(8)
COUNTS = 8
MEAN, EPS_VALUES, EPS_MEANS, PEAK, STEP_MS, LAST_MS = range(6)
EXACT = 6

_DAY_MS, _WEEK_MS = 86_400_000, 604_800_000
_FORGET = 0.1
_LONG = 0.001
_HILL, _LEAST_INDEX, _MOST_BEYOND, _LEAST_KEPT = 20, 0.15, 4.0, 10
_SILENT = 50


@kernel
def nearest(row: Row, start: int, held: int, value: float) -> tuple[float, int]:
    """Distance to the nearest of ``held`` ascending values, and the place of ``value``."""
    low, high = 0, held
    while low < high:
        middle = (low + high) >> 1
        if row[start + middle] < value:
            low = middle + 1
        else:
            high = middle
    distance = np.inf
    if low > 0:
        distance = value - row[start + low - 1]
    if low < held:
        distance = min(distance, row[start + low] - value)
    return distance, low


@kernel
def remember(
    row: Row,
    start: int,
    held: int,
    room: int,
    eps: float,
    value: float,
    distance: float,
    place: int,
) -> tuple[int, float]:
    """Keep ``value`` if it is more than ``eps`` from all kept ones; thin them out when full."""
    if held > 0 and distance <= eps:
        return held, eps
    if held == room:
        eps = max(eps * 1.5, (row[start + held - 1] - row[start]) * 0.5 / room)
        kept = 0
        for i in range(1, held):
            if row[start + i] - row[start + kept] > eps:
                kept += 1
                row[start + kept] = row[start + i]
        held = kept + 1
        distance, place = nearest(row, start, held, value)
        if distance <= eps or held == room:
            return held, eps
    for i in range(held, place, -1):
        row[start + i] = row[start + i - 1]
    row[start + place] = value
    return held + 1, eps


@kernel
def rarity(row: Row, start: int, held: int, size: float, log_learned: float) -> float:
    """-log of the share of past points with at least ``size``; beyond all, by a Pareto tail."""
    if held < _LEAST_KEPT:
        return 0.0
    last = float(row[start + held - 1])
    if size <= last:
        if last <= 0.0:
            return 0.0
        return (log_learned - math.log(held + 0.5)) * (size / last)
    low, high = 0, held
    while low < high:
        middle = (low + high) >> 1
        if row[start + middle] >= size:
            low = middle + 1
        else:
            high = middle
    if low > 0:
        return log_learned - math.log(low + 0.5)
    k = min(held - 1, _HILL)
    base = math.log(max(row[start + k], 1e-12))
    index = 0.0
    for i in range(k):
        index += math.log(max(row[start + i], 1e-12)) - base
    index = max(index / k, _LEAST_INDEX)
    beyond = (math.log(size) - math.log(max(row[start], 1e-12))) / index
    return log_learned + 0.7 + min(_MOST_BEYOND, beyond)


@kernel
def insert(row: Row, start: int, held: int, room: int, size: float) -> int:
    """Keep the ``room`` largest, descending; how many are kept now."""
    if held == room:
        if size <= row[start + held - 1]:
            return held
        i = held - 1
    else:
        i = held
        held += 1
    while i > 0 and row[start + i - 1] < size:
        row[start + i] = row[start + i - 1]
        i -= 1
    row[start + i] = size
    return held


@kernel
def newest(row: Row, at: int, held: int) -> float:
    """Sum of the ``held`` newest points, the last of which lies before place ``at``."""
    if held < RING - 1:
        total = 0.0
        for i in range(1, held + 1):
            total += row[LAST + ((at - i) & (RING - 1))]
        return total
    # All but the oldest. Four sums at a time: one would wait for itself at every step.
    a = b = c = d = 0.0
    for i in range(LAST, LAST + RING, 4):
        a += row[i]
        b += row[i + 1]
        c += row[i + 2]
        d += row[i + 3]
    return float((a + b) + (c + d) - row[LAST + at])


@kernel
def look(
    row: Row, counts: Row, exact: Row, value: float, local_ms: int, holiday: bool, sizes: Row
) -> tuple[float, float, int, float, int, float]:
    """How far the point is from each kind of memory: ``sizes`` (VIEWS,), NaN where unknown.

    Also returns the mean of the last 4 points, its place and distance among the means kept, the
    value's, and the weekly residual: what learning needs again.
    """
    run = counts[RUN]
    exact_mean = exact[MEAN]
    distance, place = nearest(row, BANK, counts[N_VALUES], value)
    sizes[0] = distance
    at = counts[FILLED]
    held = min(run, RING - 1)
    total4 = value
    for i in range(1, min(held, SHORT - 1) + 1):
        total4 += row[LAST + ((at - i) & (RING - 1))]
    total = value + newest(row, at, held)
    mean4 = total4 / min(run + 1, SHORT)
    distance4, place4 = nearest(row, BANK_MEANS, counts[N_MEANS], mean4)
    sizes[1] = distance4
    sizes[2] = abs(total / (held + 1) - exact_mean)
    daily = row[DAILY + (local_ms % _DAY_MS) * DAY_SLOTS // _DAY_MS]
    sizes[3] = np.nan if holiday else abs(value - daily)
    weekly = row[WEEKLY + (local_ms % _WEEK_MS) * WEEK_SLOTS // _WEEK_MS]
    residual = np.nan if holiday else value - weekly
    smooth, n = 0.0, 0
    if not math.isnan(residual):
        smooth, n = residual, 1
        for i in range(min(counts[N_RESIDUALS], SMOOTH - 1)):
            smooth += row[RESIDUALS + (counts[N_RESIDUALS] - 1 - i) % SMOOTH]
            n += 1
    sizes[4] = abs(smooth / n) if n else np.nan
    sizes[5] = abs(value - row[LAST + ((at - 1) & (RING - 1))]) if run > 0 else np.nan
    return mean4, distance4, place4, distance, place, residual


@kernel
def learn(
    row: Row,
    counts: Row,
    exact: Row,
    value: float,
    time_ms: int,
    local_ms: int,
    holiday: bool,
    sizes: Row,
    seen: tuple[float, float, int, float, int, float],
) -> None:
    """Make the point part of every memory."""
    mean4, distance4, place4, distance, place, residual = seen
    learned = counts[LEARNED]
    for view in range(VIEWS):
        size = 0.0 if math.isnan(sizes[view]) else sizes[view]
        insert(row, TOP + view * KEPT, min(learned, KEPT), KEPT, size)
    counts[N_VALUES], exact[EPS_VALUES] = remember(
        row, BANK, counts[N_VALUES], VALUES, exact[EPS_VALUES], value, distance, place
    )
    counts[N_MEANS], exact[EPS_MEANS] = remember(
        row, BANK_MEANS, counts[N_MEANS], MEANS, exact[EPS_MEANS], mean4, distance4, place4
    )
    if not holiday:
        slot = DAILY + (local_ms % _DAY_MS) * DAY_SLOTS // _DAY_MS
        row[slot] = value if math.isnan(row[slot]) else row[slot] + _FORGET * (value - row[slot])
        slot = WEEKLY + (local_ms % _WEEK_MS) * WEEK_SLOTS // _WEEK_MS
        row[slot] = value if math.isnan(row[slot]) else row[slot] + _FORGET * (value - row[slot])
    if not math.isnan(residual):
        row[RESIDUALS + counts[N_RESIDUALS] % SMOOTH] = residual
        counts[N_RESIDUALS] += 1
        if counts[N_RESIDUALS] >= 2 * SMOOTH:
            counts[N_RESIDUALS] -= SMOOTH
    away = value - exact[MEAN]
    weight = max(_LONG, 1.0 / (learned + 1))
    passed = time_ms - exact[LAST_MS]
    if learned == 1:
        exact[STEP_MS] = passed
    elif learned > 1:
        # A gap counts as a few steps at most.
        passed = min(max(passed, 0.0), 4 * exact[STEP_MS])
        exact[STEP_MS] += 0.01 * (passed - exact[STEP_MS])
    exact[LAST_MS] = time_ms
    exact[MEAN] += weight * away
    row[LAST + counts[FILLED]] = value
    counts[FILLED] = (counts[FILLED] + 1) & (RING - 1)
    counts[RUN] = min(counts[RUN] + 1, RING)
    counts[LEARNED] = min(learned + 1, 1_000_000_000)


@kernel
def step(
    memory: Row, counts: Row, exact: Row, rows: Row, time_ms: Row, local_ms: Row, holiday: Row,
    values: Row, broken: Row, floors: Row, floor_relative: float, weights: Row, learning: bool,
    lift_share: float, rest: int, margin: float, views: Row, score: Row, report: Row,
) -> None:  # fmt: skip
    """Judge every point, and learn it if ``learning``; writes ``views``, ``score``, ``report``.

    ``views`` (n, VIEWS): rarity of each view in nats; ``score`` (n,): their weighted mean, lifted
    against the series' own habit; ``report`` (n,): the score where it is to be told, else 0.
    """
    sizes = np.empty(VIEWS)
    for i in range(len(rows)):
        if i + 1 < len(rows):
            # A row is scattered over its 3 kB: waiting for each piece in turn would take longest.
            prefetch(memory, rows[i + 1])
            prefetch(counts, rows[i + 1])
            prefetch(exact, rows[i + 1])
        row, count, precise = memory[rows[i]], counts[rows[i]], exact[rows[i]]
        value = np.float64(np.float32(values[i]))
        run, residuals = count[RUN], count[N_RESIDUALS]
        if broken[i]:
            count[RUN] = 0
            count[N_RESIDUALS] = 0
        learned = count[LEARNED]
        seen = look(row, count, precise, value, local_ms[i], holiday[i], sizes)
        log_learned = math.log(max(learned, 1))
        floor = max(floors[i], floor_relative * abs(precise[MEAN]))
        total = 0.0
        for view in range(VIEWS):
            if not sizes[view] >= floor:
                sizes[view] = 0.0
            rare = 0.0
            if sizes[view] > 0.0:
                rare = rarity(row, TOP + view * KEPT, min(learned, KEPT), sizes[view], log_learned)
            views[i, view] = rare
            total += weights[view] * rare
        habit = row[LIFT + LIFTS - 1] if learned >= LIFTS else 0.0
        usual = 0.5 * math.log(max((learned + 1) / LIFTS, 1.0))
        lifted = total - lift_share * (habit - usual)
        score[i] = lifted
        since = count[SINCE]
        peak = precise[PEAK] if since <= rest else 0.0
        told = lifted > peak + margin and learned >= _SILENT
        report[i] = lifted if told else 0.0
        if not learning:
            count[RUN], count[N_RESIDUALS] = run, residuals
            continue
        count[SINCE] = 1 if told else min(since + 1, 1_000_000_000)
        if told:
            precise[PEAK] = lifted
        insert(row, LIFT, min(learned, LIFTS), LIFTS, total)
        learn(
            row, count, precise, value, time_ms[i], local_ms[i], holiday[i], sizes, seen
        )  # fmt: skip
