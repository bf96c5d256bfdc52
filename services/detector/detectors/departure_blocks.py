"""The machine code of ``surprise`` that keeps its past: blocks, and the threshold they give.

Of every block the largest size of each channel and the largest rarity become history. The
threshold is the rarity that the series' own blocks reach as often as the budget allows.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of
from shared.compiled import kernel

Row = NDArray[Any]

_HOUR_MS = 3_600_000
TRUST_BLOCKS = 150.0
"""A series with so many blocks is believed half, as far as its threshold goes."""
TAIL_BLOCKS = 100
"""Blocks of which the largest kept are the tail, a tenth: before, they are as likely faults."""
_LEAD, _CAUTION = 1.0, 0.35
"""Nats by which a young series' threshold is lower at hourly steps, and higher at the shortest."""
_PRIOR_RANKS, _MAX_RANKED = 6.0, 4.0
"""Ranks that say a slope of one, and the most that one of the series' own says."""
_USUAL, _UNSETTLED = 2.0, 2
"""Rarity that is reached where there is no history; blocks not counted."""
_STEPS = 256.0
"""Rarities are kept as whole numbers of this fraction of a nat."""


@kernel
def insert(tops: Row, start: int, room: int, held: int, code: int) -> None:
    """Keep ``code`` among the ``room`` largest, descending, of which ``held`` are there."""
    at = min(held, room - 1)
    if held == room and code <= tops[start + at]:
        return
    while at > 0 and tops[start + at - 1] < code:
        tops[start + at] = tops[start + at - 1]
        at -= 1
    tops[start + at] = code


@kernel
def slope(tops: Row, held: int, blocks: int) -> float:
    """How many nats of the series' own rarity make it e times as rare.

    One, where rarities are what they say, and while there are too few blocks to tell a heavy tail
    from faults. Distances of neighbouring ranks tell (Renyi): each, times its rank, is as long as
    the slope on average. None counts for more than a few, and few are drawn towards one.
    """
    known = min(1.0, max(0.0, (blocks - TAIL_BLOCKS) / TAIL_BLOCKS))
    total, before = _PRIOR_RANKS, tops[of.RANKED] / _STEPS
    for at in range(1, held):
        here = tops[of.RANKED + at] / _STEPS
        total += min(at * (before - here), _MAX_RANKED)
        before = here
    return float(1 + known * (total / (_PRIOR_RANKS + max(held - 1, 0)) - 1))


@kernel
def account(
    pace: Row,
    tally: Row,
    tops: Row,
    codes: Row,
    fresh: Row,
    rarest: float,
    told: bool,
    onset: bool,
    ended: bool,
) -> None:
    """Make the point part of the block that is going on; keep the running numbers.

    What is told does not become usual by its size. Once the tail is known it counts once, for at
    most twice the largest before: else a heavy tail would be taken for a light one for ever.
    """
    counts = onset and tally[of.BLOCKS] > TAIL_BLOCKS
    for channel in range(of.CHANNELS):
        code = codes[channel] >> 16
        if counts:
            code = min(code, tops[of.TOPS + channel * of.KEPT] + of.TWICE)
        if channel != of.STILL and (counts or not told) and code > tops[of.OPEN + channel]:
            tops[of.OPEN + channel] = code
    code = codes[of.CHANNELS] >> 16
    if ended and code > tops[of.OPEN + of.STILL]:
        tops[of.OPEN + of.STILL] = code
    pace[of.HIGHEST] = max(pace[of.HIGHEST], rarest)
    for at in range(of.Z1, of.ENERGY + 1):
        pace[at] = fresh[at]
    tally[of.IN_BLOCK] += 1


@kernel
def close(pace: Row, tally: Row, tops: Row, weeks: float) -> None:
    """End a block: its largest sizes and rarity become history."""
    blocks = tally[of.BLOCKS]
    for channel in range(of.CHANNELS):
        if (blocks + 1) % of.SPANS[channel] == 0:
            held = min(blocks // of.SPANS[channel], of.KEPT)
            insert(tops, of.TOPS + channel * of.KEPT, of.KEPT, held, tops[of.OPEN + channel])
            tops[of.OPEN + channel] = 0
    tally[of.BLOCKS], tally[of.IN_BLOCK] = min(blocks + 1, 1_000_000_000), 0
    pace[of.LOG_BLOCKS] = math.log(tally[of.BLOCKS] + 1.0)
    if blocks >= _UNSETTLED:
        insert(tops, of.RANKED, of.PEAKS, tally[of.HELD], round(pace[of.HIGHEST] * _STEPS))
        tally[of.HELD] = min(tally[of.HELD] + 1, of.PEAKS)
        pace[of.SLOPE] = slope(tops, tally[of.HELD], tally[of.BLOCKS])
    pace[of.HIGHEST] = 0.0
    pace[of.WEEKS] += weeks
    if pace[of.WEEKS] >= 1.0:
        # The memory is half a week to a week long: every second rarity goes.
        pace[of.WEEKS] /= 2
        tally[of.HELD] = (tally[of.HELD] + 1) // 2
        for at in range(tally[of.HELD]):
            tops[of.RANKED + at] = tops[of.RANKED + 2 * at]


@kernel
def threshold(pace: Row, tally: Row, tops: Row, weekly: float, step_ms: float) -> float:
    """The rarity that the series' own past ones reach as often as the budget allows.

    That is extrapolated from the one that was reached four times as often, and four times more:
    some faults in the past do not move it. What came of past thresholds shifts it. A young series'
    rarities are drawn towards those of others, hence smaller, and the threshold with them; but at
    short steps a week has many chances of a false alarm, and it is higher until the tail is known.
    """
    allowed = weekly * pace[of.WEEKS]
    rank = max(1, min(tally[of.HELD], int(4 * allowed) + 4))
    reached = tops[of.RANKED + rank - 1] / _STEPS if tally[of.HELD] > 0 else _USUAL
    young = TRUST_BLOCKS / (tally[of.BLOCKS] + TRUST_BLOCKS)
    coarse = min(step_ms / _HOUR_MS, 1.0)
    lead = young * (_LEAD * coarse - _CAUTION * (1 - coarse))
    found = reached + pace[of.SLOPE] * math.log(rank / max(allowed, 1e-9))
    return float(found - lead + pace[of.SHIFT])
