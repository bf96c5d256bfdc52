"""The machine code of ``surprise`` that keeps its past: blocks, and the threshold they give.

Of every block the largest size of each channel and the largest rarity become history. The
threshold is the rarity that the series' own blocks reach as often as the budget allows.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from services.detector.detectors import departure_kernel as of
from shared.compiled import allocation_free_kernel

Row = NDArray[Any]

_HOUR_MS, _WEEK_MS = 3_600_000, 604_800_000
TRUST_BLOCKS = 150.0
"""A series with so many blocks is believed half, as far as its threshold goes."""
_LEAD, _CAUTION = 1.15, 0.35
"""Nats by which a young series' threshold is lower at hourly steps, and higher at the shortest."""
_PRIOR_RANKS, _MAX_RANKED = 6.0, 4.0
"""Ranks that say a slope of one, and the most that one of the series' own says."""
_NEW_WEEKS, _PREDICTING, _MOST_UNSURE = 2.0, 8.0, 3.0
"""Weeks in which a series is new; ranks that predict rarer ones then; a bound for the exponent."""
_CAUTIOUS_FROM = 50
"""Blocks from which on a new series is judged more carefully."""
_USUAL, _UNSETTLED = 2.0, 2
"""Rarity that is reached where there is no history; blocks not counted."""
_RECORD = 12
"""Steps of size, 7 %, by which what lasts may pass the largest block before it, to be usual."""
_MOST_OFTEN = 0.25
"""Share of blocks that may hold a false alarm, whatever the budget: at daily steps a week holds
half a block."""


@allocation_free_kernel
def insert(tops: Row, start: int, room: int, held: int, code: int) -> None:
    """Keep ``code`` among the ``room`` largest, descending, of which ``held`` are there."""
    at = min(held, room - 1)
    if held == room and code <= tops[start + at]:
        return
    while at > 0 and tops[start + at - 1] < code:
        tops[start + at] = tops[start + at - 1]
        at -= 1
    tops[start + at] = code


@allocation_free_kernel
def known(blocks: int) -> float:
    """The degree to which the tail can be told from faults: 0 in the first blocks, 1 from the 200th
    on.
    """
    return min(1.0, max(0.0, (blocks - of.TAIL_BLOCKS) / of.TAIL_BLOCKS))


@allocation_free_kernel
def slope(tops: Row, ranked: int, held: int, blocks: int) -> float:
    """The nats of the series' own rarity that make it e times as rare.

    One, where rarities are what they say, and while there are too few blocks to tell a heavy tail
    from faults. Distances of neighbouring ranks tell (Renyi): each, times its rank, is as long as
    the slope on average. None counts for more than a few, and few are drawn towards one.
    """
    total, before = _PRIOR_RANKS, tops[ranked] / of.STEPS
    for at in range(1, held):
        here = tops[ranked + at] / of.STEPS
        total += min(at * (before - here), _MAX_RANKED)
        before = here
    return float(1 + known(blocks) * (total / (_PRIOR_RANKS + max(held - 1, 0)) - 1))


@allocation_free_kernel
def account(
    pace: Row,
    tally: Row,
    tops: Row,
    codes: Row,
    fresh: Row,
    rarities: Row,
    told: bool,
    onset: bool,
    repeats: bool,
    ended: bool,
) -> None:
    """Make the point part of the block that is going on; keep the running numbers.

    What is told does not become usual by its size. Once the tail is known it counts once, for at
    most twice the largest before: else a heavy tail would be taken for a light one forever. Where
    alarms are a habit (``repeats``) it counts from the beginning.
    """
    settled = tally[of.BLOCKS] > of.TAIL_BLOCKS
    counts = onset and (settled or repeats)
    for channel in range(of.CHANNELS):
        code = codes[channel] >> 16
        if settled:
            # Else a slow fault would be usual before it is told.
            most = of.TWICE if of.LASTING[channel] == 0 else _RECORD
            code = min(code, tops[of.TOPS + channel * of.KEPT] + most)
        if channel != of.STILL and (counts or not told) and code > tops[of.OPEN + channel]:
            tops[of.OPEN + channel] = code
    code = codes[of.CHANNELS] >> 16
    if ended and code > tops[of.OPEN + of.STILL]:
        tops[of.OPEN + of.STILL] = code
    for group in range(of.GROUPS):
        pace[of.HIGHEST + group] = max(pace[of.HIGHEST + group], rarities[group])
    for at in range(of.Z1, of.ENERGY + 1):
        pace[at] = fresh[at]
    tally[of.IN_BLOCK] += 1


@allocation_free_kernel
def close(pace: Row, tally: Row, tops: Row, weekly: float, step_ms: float, same_day: bool) -> None:
    """End a block: its largest sizes and rarities become history.

    The threshold follows them once a day: a fault that lasts would raise it ahead of itself.
    """
    blocks = tally[of.BLOCKS]
    for channel in range(of.CHANNELS):
        if (blocks + 1) % of.SPANS[channel] == 0:
            held = min(blocks // of.SPANS[channel], of.KEPT)
            insert(tops, of.TOPS + channel * of.KEPT, of.KEPT, held, tops[of.OPEN + channel])
            tops[of.OPEN + channel] = 0
    tally[of.BLOCKS], tally[of.IN_BLOCK] = min(blocks + 1, 1_000_000_000), 0
    pace[of.LOG_BLOCKS] = math.log(tally[of.BLOCKS] + 1.0)
    if blocks >= _UNSETTLED:
        rank(pace, tally, tops)
    for group in range(of.GROUPS):
        pace[of.HIGHEST + group] = 0.0
    pace[of.WEEKS] += of.BLOCK * step_ms / _WEEK_MS
    if pace[of.WEEKS] >= max(1.0, of.PEAKS * of.BLOCK * step_ms / _WEEK_MS):
        # The memory is half a week to a week long, of as many blocks as there are ranks at least:
        # every second rarity goes.
        pace[of.WEEKS] /= 2
        tally[of.HELD] = (tally[of.HELD] + 1) // 2
        for at in range(tally[of.HELD]):
            for group in range(of.GROUPS):
                ranked = of.RANKED + group * of.PEAKS
                tops[ranked + at] = tops[ranked + 2 * at]
    if not same_day or blocks <= of.TAIL_BLOCKS:
        for group in range(of.GROUPS):
            pace[of.BASE + group] = base(pace, tally, tops, group, weekly, step_ms)


@allocation_free_kernel
def rank(pace: Row, tally: Row, tops: Row) -> None:
    """Keep the block's rarity of each group; of few blocks no two tails can be distinguished."""
    if tally[of.BLOCKS] <= of.TAIL_BLOCKS + 1:
        highest = max(pace[of.HIGHEST], pace[of.HIGHEST + 1])
        pace[of.HIGHEST] = pace[of.HIGHEST + 1] = highest
    for group in range(of.GROUPS):
        code = round(pace[of.HIGHEST + group] * of.STEPS)
        insert(tops, of.RANKED + group * of.PEAKS, of.PEAKS, tally[of.HELD], code)
    tally[of.HELD] = min(tally[of.HELD] + 1, of.PEAKS)


@allocation_free_kernel
def predicted(beyond: float) -> float:
    """The distance beyond a known rarity to one ``beyond`` nats rarer, where few ranks tell.

    The exponential tail's predictive quantile: the further, the less certain is what few tell.
    """
    if beyond <= 0:
        return beyond
    return _PREDICTING * (math.exp(min(beyond / _PREDICTING, _MOST_UNSURE)) - 1)


@allocation_free_kernel
def base(pace: Row, tally: Row, tops: Row, group: int, weekly: float, step_ms: float) -> float:
    """The rarity of a group that the series' own past ones reach as often as its budget allows.

    Each group has half of the budget, once tails are known. The rarity is extrapolated from the
    one that was reached four times as often, and four times more: some faults in the past do not
    move it. A young series' rarities are drawn towards those of others, hence smaller, and the
    threshold with them; but at short steps a week has many chances of a false alarm, and it is
    higher until the tail is known.
    """
    share = 1 - known(tally[of.BLOCKS]) * (1 - 1 / of.GROUPS)
    passed = pace[of.WEEKS] * _WEEK_MS / (of.BLOCK * max(step_ms, 1.0))
    capped = weekly * pace[of.WEEKS] > _MOST_OFTEN * passed
    allowed = share * (_MOST_OFTEN * passed if capped else weekly * pace[of.WEEKS])
    # A few ranks follow a new way of the series soon, also where a block is twelve days.
    most = of.PEAKS // 2 if capped else of.PEAKS
    rank = max(1, min(tally[of.HELD], most, int(4 * allowed) + 4))
    ranked = of.RANKED + group * of.PEAKS
    reached = tops[ranked + rank - 1] / of.STEPS if tally[of.HELD] > 0 else _USUAL
    if reached == 0:
        reached = of.least_rarity(pace, tally)
    young = TRUST_BLOCKS / (tally[of.BLOCKS] + TRUST_BLOCKS)
    coarse = min(step_ms / _HOUR_MS, 1.0)
    lead = young * (_LEAD * coarse - _CAUTION * (1 - coarse))
    steep = slope(tops, ranked, tally[of.HELD], tally[of.BLOCKS])
    beyond = math.log(rank / max(allowed, 1e-9))
    weeks = tally[of.BLOCKS] * of.BLOCK * step_ms / _WEEK_MS
    unsure = max(0.0, 1 - weeks / _NEW_WEEKS) * (1 - coarse)
    # Earlier, where few values are usual, the threshold would lie beyond what any value can be.
    if tally[of.BLOCKS] >= _CAUTIOUS_FROM:
        beyond += unsure * (predicted(beyond) - beyond)
    return float(reached + steep * beyond - lead)
