"""The machine code of ``surprise``'s three views: one pass over a tick's points.

A row of ``memory`` (float32, NaN where nothing is yet) is cut as below; ``counts`` (int32) and
``exact`` (float64) hold the rest. Nothing here allocates, and a series' result depends on nothing
but its own points.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors.departure_kernel import within_range
from shared.compiled import allocation_free_kernel, prefetch

Row = NDArray[Any]

VIEWS = 3
KEPT = 32
VALUES = 128
DAY_SLOTS = 96
RING, LIFTS = 64, 10

BANK = 0
TOP = BANK + VALUES
DAILY = TOP + VIEWS * KEPT
LAST = DAILY + DAY_SLOTS
LIFT = LAST + RING
MEMORY = LIFT + LIFTS

N_VALUES, LEARNED, RUN, FILLED, SINCE = range(5)
COUNTS = 5
MEAN, EPS, PEAK, STEP_MS, LAST_MS, BEGAN_MS = range(6)
EXACT = 6
LONG_MEAN, REPORT, FIRST_VIEW = range(3)
NUMBERS = FIRST_VIEW + VIEWS

_DAY_MS = 86_400_000
_FORGET = 0.1
_MIN_WEIGHT = 0.001
_HILL, _MIN_INDEX, _MAX_BEYOND, _MIN_KEPT = 20, 0.15, 4.0, 10
_SILENT, _REST = 50, 120
"""Points before anything is reported, and after it, in which only what is rarer is reported."""
_LOGS = np.array([math.log(above + 0.5) for above in range(KEPT + 1)])


class Rules(NamedTuple):
    """The detector's settings, as the kernel wants them."""

    lift: float
    margin: float
    floor_absolute: float
    floor_relative: float


@allocation_free_kernel
def below(row: Row, start: int, held: int, value: float) -> int:
    """The number of ``held`` ascending values below ``value``; without a jump to mispredict."""
    low = 0
    while held > 1:
        half = held >> 1
        low += half if row[start + low + half - 1] < value else 0
        held -= half
    if held == 1 and row[start + low] < value:
        low += 1
    return low


@allocation_free_kernel
def nearest(row: Row, start: int, held: int, value: float) -> tuple[float, int]:
    """Distance to the nearest of ``held`` ascending values, and the place of ``value``."""
    low = below(row, start, held, value)
    distance = np.inf
    if low > 0:
        distance = value - row[start + low - 1]
    if low < held:
        distance = min(distance, row[start + low] - value)
    return distance, low


@allocation_free_kernel
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


@allocation_free_kernel
def rarity(row: Row, start: int, held: int, size: float, log_learned: float) -> float:
    """-log of the share of past points with at least ``size``; beyond all, by a Pareto tail."""
    if held < _MIN_KEPT:
        return 0.0
    last = float(row[start + held - 1])
    if size <= last:
        if last <= 0.0:
            return 0.0
        return float(log_learned - _LOGS[held]) * (size / last)
    low, high = 0, held
    while low < high:
        middle = (low + high) >> 1
        if row[start + middle] >= size:
            low = middle + 1
        else:
            high = middle
    if low > 0:
        return float(log_learned - _LOGS[low])
    k = min(held - 1, _HILL)
    base = math.log(max(row[start + k], 1e-12))
    index = 0.0
    for i in range(k):
        index += math.log(max(row[start + i], 1e-12)) - base
    index = max(index / k, _MIN_INDEX)
    beyond = (math.log(size) - math.log(max(row[start], 1e-12))) / index
    return log_learned + 0.7 + min(_MAX_BEYOND, beyond)


@allocation_free_kernel
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


@allocation_free_kernel
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


@allocation_free_kernel
def look(
    row: Row, counts: Row, exact: Row, value: float, slot: int, holiday: bool, sizes: Row
) -> tuple[float, int]:
    """The distance of the point from each kind of memory: ``sizes`` (VIEWS,), NaN where unknown.

    Also returns its distance from the values kept and its place among them, for learning.
    """
    distance, place = nearest(row, BANK, counts[N_VALUES], value)
    # Nothing is near the first point of all, which says nothing of how far out one can be.
    sizes[0] = distance if distance < np.inf else np.nan
    held = min(counts[RUN], RING - 1)
    total = value + newest(row, counts[FILLED], held)
    sizes[1] = abs(total / (held + 1) - exact[MEAN])
    sizes[2] = np.nan if holiday else abs(value - row[slot])
    return distance, place


@allocation_free_kernel
def learn(
    row: Row,
    counts: Row,
    exact: Row,
    value: float,
    time_ms: int,
    slot: int,
    holiday: bool,
    sizes: Row,
    distance: float,
    place: int,
) -> None:
    """Make the point part of every memory."""
    learned = counts[LEARNED]
    for view in range(VIEWS):
        insert(row, TOP + view * KEPT, min(learned, KEPT), KEPT, sizes[view])
    counts[N_VALUES], exact[EPS] = remember(
        row, BANK, counts[N_VALUES], VALUES, exact[EPS], value, distance, place
    )
    if not holiday:
        row[slot] = value if math.isnan(row[slot]) else row[slot] + _FORGET * (value - row[slot])
    passed = time_ms - exact[LAST_MS]
    if learned == 0:
        exact[BEGAN_MS] = time_ms
    if learned == 1:
        exact[STEP_MS] = passed
    elif learned > 1:
        # A gap counts as a few steps at most.
        passed = min(max(passed, 0.0), 4 * exact[STEP_MS])
        exact[STEP_MS] += 0.01 * (passed - exact[STEP_MS])
    exact[LAST_MS] = time_ms
    exact[MEAN] += max(_MIN_WEIGHT, 1.0 / (learned + 1)) * (value - exact[MEAN])
    row[LAST + counts[FILLED]] = value
    counts[FILLED] = (counts[FILLED] + 1) & (RING - 1)
    counts[RUN] = min(counts[RUN] + 1, RING)
    counts[LEARNED] = min(learned + 1, 1_000_000_000)


@allocation_free_kernel
def rarities(
    row: Row, learned: int, floor: float, log_learned: float, sizes: Row, number: Row
) -> float:
    """Mean rarity of the views, each written to ``number``; ``sizes`` below ``floor`` become 0."""
    total = 0.0
    for view in range(VIEWS):
        if not sizes[view] >= floor:
            sizes[view] = 0.0
        rare = 0.0
        if sizes[view] > 0.0:
            rare = rarity(row, TOP + view * KEPT, min(learned, KEPT), sizes[view], log_learned)
        number[FIRST_VIEW + view] = rare
        total += rare
    return total / VIEWS


@allocation_free_kernel
def step(
    memory: Row,
    counts: Row,
    exact: Row,
    rows: Row,
    time_ms: Row,
    local_ms: Row,
    holiday: Row,
    values: Row,
    broken: Row,
    floors: Row,
    rules: Rules,
    learning: bool,
    sizes: Row,
    numbers: Row,
) -> None:
    """Write ``numbers`` (n, NUMBERS), how rare each point is; learn it if ``learning``."""
    for i in range(len(rows)):
        if i + 1 < len(rows):
            # A row is scattered over 1.6 kB: waiting for each piece in turn would take longest.
            prefetch(memory, rows[i + 1])
            prefetch(counts, rows[i + 1])
            prefetch(exact, rows[i + 1])
        row, count, precise, number = memory[rows[i]], counts[rows[i]], exact[rows[i]], numbers[i]
        value = np.float64(np.float32(within_range(values[i])))
        run, learned, mean = count[RUN], count[LEARNED], precise[MEAN]
        if broken[i]:
            count[RUN] = 0
        slot = DAILY + (local_ms[i] % _DAY_MS) * DAY_SLOTS // _DAY_MS
        distance, place = look(row, count, precise, value, slot, holiday[i], sizes)
        floor = max(floors[i], rules.floor_absolute, rules.floor_relative * abs(mean))
        total = rarities(row, learned, floor, math.log(max(learned, 1)), sizes, number)
        habit = row[LIFT + LIFTS - 1] if learned >= LIFTS else 0.0
        usual = 0.5 * math.log(max((learned + 1) / LIFTS, 1.0))
        score = total - rules.lift * (habit - usual)
        resting = precise[PEAK] > 0 and count[SINCE] <= _REST
        told = score > (precise[PEAK] if resting else 0.0) + rules.margin and learned >= _SILENT
        number[LONG_MEAN], number[REPORT] = mean, score if told else 0.0
        if not learning:
            count[RUN] = run
            continue
        count[SINCE] = 1 if told else min(count[SINCE] + 1, 1_000_000_000)
        if told:
            precise[PEAK] = score
        insert(row, LIFT, min(learned, LIFTS), LIFTS, total)
        learn(row, count, precise, value, time_ms[i], slot, holiday[i], sizes, distance, place)
