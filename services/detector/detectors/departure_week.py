"""The machine code of ``surprise`` that knows the week: its slots, and days of an unknown kind."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of
from shared.compiled import allocation_free_kernel

Row = NDArray[Any]

_DAY_MS, _WEEK_MS, _SLOT_MS, _MONDAY_MS = 86_400_000, 604_800_000, 7_200_000, 345_600_000
_WEEK, _WORKING_DAYS, _ENOUGH_DAYS = 7, 5, 2
"""Days of a week; from Monday on that are alike; after which a kind of day is known."""
_SLOTS_A_DAY, _QUARTER_MS, _KEPT = 12, 900_000, 0.9
"""The memory of the time of day keeps so much of a quarter of an hour with each new point."""
_DEPARTS = 3.0
"""Usual deviations from which a departure is looked up in the week."""
_LATER_WEEKS = 0.75
"""Share of a new week's difference that a slot of the week learns."""


@allocation_free_kernel
def week_place(local_ms: int) -> tuple[int, int, float]:
    """The two slots of the week between whose middles a moment lies, and the second's share."""
    place = ((local_ms - _MONDAY_MS) % _WEEK_MS) / _SLOT_MS - 0.5
    before = math.floor(place)
    first = int(before)
    second = first + 1 if first + 1 < of.WEEK_SLOTS else 0
    return first if first >= 0 else of.WEEK_SLOTS - 1, second, place - before


@allocation_free_kernel
def part(week: Row, place: tuple[int, int, float], days_ago: int) -> float:
    """The part that the day of the week adds at this time of the day, so many days ago."""
    first, second, share = place
    first = (first - days_ago * _SLOTS_A_DAY) % of.WEEK_SLOTS
    second = (second - days_ago * _SLOTS_A_DAY) % of.WEEK_SLOTS
    return float((1 - share) * week[first] + share * week[second])


@allocation_free_kernel
def spread(week: Row, first: int, low: float, high: float) -> tuple[float, float]:
    """The least and the largest of three slots from ``first`` on, ``low`` and ``high``."""
    for ahead in range(3):
        held = week[(first + ahead) % of.WEEK_SLOTS]
        low, high = min(low, held), max(high, held)
    return low, high


@allocation_free_kernel
def recurs(
    week: Row,
    place: tuple[int, int, float],
    left: float,
    error: float,
    usual: float,
    steps_are_fine: bool,
) -> bool:
    """Return whether this time of the week had such a departure before, as weekly jobs make it.

    Such a job is too rare for the weekly predictor to become the best one, and slots of two hours
    are too coarse for its edges. What counts is whether the value lies between what is usual on
    other days, the middle of the last three, and what this slot and the next two held a week ago,
    whether these differ by half of the departure at least, and by twice as much as on other days.
    Slots before it are not looked at: they know what began in the last hours, and at coarse steps
    the first of them does, too.
    """
    begin = place[0] if steps_are_fine else place[1]
    one, two, three = part(week, place, 1), part(week, place, 2), part(week, place, 3)
    rest = max(min(one, two), min(max(one, two), three))
    departure = max(abs(error), abs(left - rest))
    if departure < _DEPARTS * usual:
        return False
    low, high = spread(week, begin, rest, rest)
    span = high - low
    for days_ago in range(1, 4):
        first = begin - days_ago * _SLOTS_A_DAY
        held = week[first % of.WEEK_SLOTS]
        least, most = spread(week, first, held, held)
        if span < 2 * (most - least):
            return False
    room = 0.5 * span + _DEPARTS * usual
    return bool(span >= 0.5 * departure and low - room <= left <= high + room)


@allocation_free_kernel
def mixed(
    week: Row, place: tuple[int, int, float], local_ms: int, step_ms: float, age_ms: float
) -> float:
    """The parts of the week that the memory of this time of day has learned from past days.

    It forgets a tenth with every point, those of today in the same quarter of an hour included.
    """
    if age_ms < _DAY_MS or not fine(step_ms):
        return 0.0
    points = max(1.0, _QUARTER_MS / step_ms)
    today = min(float((local_ms % _QUARTER_MS) // step_ms), points)
    kept, rest = _KEPT**points, _KEPT**today
    total, weight = 0.0, 1 - kept
    for days_ago in range(1, _WEEK + 1):
        total += weight * part(week, place, days_ago)
        weight *= kept
    whole = kept**_WEEK
    if age_ms > _WEEK_MS and whole > 0:
        total *= (1 - kept ** (age_ms / _DAY_MS)) / (1 - whole)
    return float((1 - rest) * part(week, place, 0) + rest * total)


@allocation_free_kernel
def fine(step_ms: float) -> bool:
    """Return whether a day brings the memory of the time of day several points for each of its
    slots.

    Where it brings one at most, the memory keeps its first days for weeks, so that what weekends
    left in it cannot be told from growth.
    """
    return 0 < step_ms < _QUARTER_MS


@allocation_free_kernel
def known(step_ms: float) -> bool:
    """Return whether every slot of the week gets a point of its own each week."""
    return 0 < step_ms <= _SLOT_MS


@allocation_free_kernel
def season_of_few(week: Row, place: tuple[int, int, float], left: float, step_ms: float) -> None:
    """Let the two slots of the week learn together; for points that are not ``fine``."""
    first, second, share = place
    gain = min(step_ms / _SLOT_MS, 1.0)
    gain = 1.5 * gain / (1 + gain)
    left -= (1 - share) * week[first] + share * week[second]
    week[first] += gain * (1 - share) * left
    week[second] += gain * share * left


@allocation_free_kernel
def season(
    week: Row,
    pace: Row,
    tally: Row,
    place: tuple[int, int, float],
    left: float,
    step_ms: float,
    age_ms: float,
) -> None:
    """Let the two slots of the week learn what the time of day left over.

    What they learn is kept apart until their two hours are over: a fault would otherwise be
    expected a few points after its beginning. The shares of the points near a slot add up to one:
    it becomes the mean of what its first week left over, and later weeks move it most of the way.
    """
    first, second, share = place
    if first != tally[of.SLOT]:
        before = tally[of.SLOT]
        after = before + 1 if before + 1 < of.WEEK_SLOTS else 0
        week[before] += pace[of.OPEN_SLOTS]
        if first == after:
            pace[of.OPEN_SLOTS] = pace[of.OPEN_SLOTS + 1]
        else:
            week[after] += pace[of.OPEN_SLOTS + 1]
            pace[of.OPEN_SLOTS] = 0.0
        pace[of.OPEN_SLOTS + 1], tally[of.SLOT] = 0.0, first
    gain = min(step_ms / _SLOT_MS, 1.0) * (1.0 if age_ms < _WEEK_MS else _LATER_WEEKS)
    pace[of.OPEN_SLOTS] += gain * (1 - share) * (left - week[first])
    pace[of.OPEN_SLOTS + 1] += gain * share * (left - week[second])


@allocation_free_kernel
def unseen(local_ms: int, age_ms: float) -> bool:
    """Return whether a series meets its first weekend, or its first working days after one."""
    day = (local_ms - _MONDAY_MS) // _DAY_MS
    began = int((local_ms - _MONDAY_MS - age_ms) // _DAY_MS)
    if not 0 < day - began < _WEEK:
        return False
    if began % _WEEK < _WORKING_DAYS:
        return bool(day % _WEEK >= _WORKING_DAYS)
    return bool(day % _WEEK < _ENOUGH_DAYS)


@allocation_free_kernel
def midweek(day: int) -> bool:
    """Return whether the day is like the one before it: from Tuesday to Friday."""
    return bool(1 <= (day - _MONDAY_MS // _DAY_MS) % _WEEK < _WORKING_DAYS)


@allocation_free_kernel
def speaker(errors: Row, best: int, local_ms: int, new_days: bool, step_ms: float) -> int:
    """The predictor whose error counts, where ``best`` is the best of the last day.

    On the first day of a weekend, or after one, yesterday does not say what the day of the week
    explains. Of a kind of day that was never seen (``new_days``) the rhythm is not known: only
    what is sudden counts, beside the last value.
    """
    if best < of.DAILY or not fine(step_ms):
        return best
    if new_days:
        last, daily_last = of.DAILY - 1, of.WEEKLY - 1
        return last if abs(errors[last]) < abs(errors[daily_last]) else daily_last
    day = (local_ms - _MONDAY_MS) // _DAY_MS % _WEEK
    return best + 3 if best < of.WEEKLY and day in (0, _WORKING_DAYS) else best
