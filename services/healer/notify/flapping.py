"""How much an alert flaps: the number of its openings, each counting less with age."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from services.healer.notify.settings import Flapping


def score(openings: Iterable[datetime], now: datetime, half_life_s: float) -> float:
    """Sum over the openings of 1/2 to the power of their age in half-lives."""
    return math.fsum(0.5 ** (max((now - at).total_seconds(), 0.0) / half_life_s) for at in openings)


def flaps(openings: Iterable[datetime], now: datetime, *, before: bool, how: Flapping) -> bool:
    """Whether it flaps: it begins at one score and ends at a lower one."""
    return score(openings, now, how.half_life_s) >= (how.stop if before else how.start)


def calm_at(openings: Iterable[datetime], now: datetime, how: Flapping) -> datetime:
    """When the score falls below ``stop`` if it does not open again."""
    now_score = score(openings, now, how.half_life_s)
    if now_score <= how.stop:
        return now
    return now + timedelta(seconds=how.half_life_s * math.log2(now_score / how.stop))
