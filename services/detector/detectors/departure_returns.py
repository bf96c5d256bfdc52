"""The machine code of ``surprise`` that knows what a series returns to: after restarts, and events.

A saw-tooth, a leak that ends with each deployment, an uptime: what was gained gradually is lost at
once, and the value begins again from about where it began before. No time of day says when.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of
from services.detector.detectors.departure_tables import Scratch, State
from shared.compiled import allocation_free_kernel

Row = NDArray[Any]

SIZE, LANDING, TIMES, RESTS = range(4)
RETURNS = 4
"""The columns of ``returns``."""
_JUMP, _NEAR, _LEAST, _BACK = 4.0, 0.25, 0.1, 0.3
"""Usual deviations of a jump; shares of the usual jump: how near to the usual place it ends, the
least that it is long, and of one the other way that undoes it."""
_SELDOM, _ELSEWHERE = 0.1, 0.1
"""Share of points that move in a series that rests; share of a usual move by which the slow
predictor is off, from which the series rests elsewhere each time."""
_KNOWN, _MOST, _GAIN = 2.0, 8.0, 0.3
"""Restarts from which the next is usual; the most counted; the gain of their means."""


@allocation_free_kernel
def learn_rest(returns: Row, pace: Row, tally: Row) -> None:
    """Learn whether the series returns to the same value after each rare event, and rests there.

    Of one that rests elsewhere after each, the slow predictor is off by much of a move. That is
    true of a step, too, so it is asked once a day.
    """
    best = tally[of.BEST]
    rests = (
        tally[of.BLOCKS] > of.TAIL_BLOCKS
        and pace[of.MOVING] < _SELDOM
        and pace[of.ERROR + best - best % 3] * of.moving(pace) < _ELSEWHERE * pace[of.ERROR + best]
    )
    returns[RESTS] = 1.0 if rests else 0.0


@allocation_free_kernel
def overlook(pace: Row, room: Scratch) -> None:
    """Let the point count as none: nothing about it is rare, and the running numbers stay."""
    for number in range(of.Z1, of.ENERGY + 1):
        room.fresh[number] = pace[number]
    for group in range(of.GROUPS):
        room.rarities[group] = 0.0


@allocation_free_kernel
def learn_restart(returns: Row, jump: float, value: float, near: bool) -> None:
    """Remember a jump: the size and the end of those that end alike.

    One that is undone by a jump back is no restart, but a spike or an outage.
    """
    size, times = returns[SIZE], returns[TIMES]
    if near:
        returns[SIZE] += _GAIN * (jump - size)
        returns[LANDING] += _GAIN * (value - returns[LANDING])
        returns[TIMES] = min(times + 1.0, _MOST)
        return
    undone = jump * size <= 0 and abs(jump) >= _BACK * abs(size)
    if times > 1 and not undone:
        returns[TIMES] = times - 1
        return
    returns[SIZE], returns[LANDING] = jump, value
    returns[TIMES] = 0.0 if undone and times > 0 else 1.0


@allocation_free_kernel
def restart(
    state: State, at: int, value: float, speaker: int, learning: bool, room: Scratch
) -> bool:
    """Return whether the value falls back to where it fell back before; it then counts as no point.

    A fall that is much shorter than usual is no such restart: a process that is restarted all the
    time has gained nothing in between.
    """
    course, pace, returns = state.course[at], state.pace[at], state.returns[at]
    jump, size = value - course[of.LAST] - course[of.DRIFT], returns[SIZE]
    # Not the error: to a slow predictor the end of a spike is none.
    if abs(jump) < _JUMP * of.usual(pace, speaker):
        return False
    near = (
        jump * size > 0
        and abs(value - returns[LANDING]) <= _NEAR * abs(size)
        and abs(jump) >= _LEAST * abs(size)
    )
    known = near and returns[TIMES] >= _KNOWN
    if learning:
        learn_restart(returns, jump, value, near)
    if known:
        overlook(pace, room)
    return bool(known)
