"""Mines rules from alarms: transactions, Apriori, lag, and whether a rule still holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from services.healer.correlation.apriori import rules

_Z95 = 1.959964


@dataclass(frozen=True)
class Alarm:
    """An item alarmed at a place: a machine, or a group of machines."""

    place: str
    item: str
    at: datetime


@dataclass(frozen=True)
class Pair:
    """A rule "cause, then effect" with its numbers."""

    cause: str
    effect: str
    support: float
    confidence: float
    lift: float
    lag_s: float
    count: int
    transactions: int


Transaction = dict[str, datetime]
"""Item to the time it first alarmed in the window."""


def transactions(alarms: Iterable[Alarm], window_s: float) -> list[Transaction]:
    """One a place and window in which anything alarmed; windows begin at multiples of their
    length, Unix time.
    """
    found: dict[tuple[str, int], Transaction] = {}
    for alarm in sorted(alarms, key=lambda a: a.at):
        window = int(alarm.at.timestamp() // window_s)
        found.setdefault((alarm.place, window), {}).setdefault(alarm.item, alarm.at)
    return list(found.values())


def pairs(found: list[Transaction], min_support: float, min_confidence: float) -> list[Pair]:
    """Rules of one cause and one effect, most confident first; the lag is B's time less A's."""
    mined = []
    for rule in rules(found, min_support, min_confidence):
        (cause,) = rule.cause
        lags = [
            (t[rule.effect] - t[cause]).total_seconds()
            for t in found
            if cause in t and rule.effect in t
        ]
        mined.append(
            Pair(
                cause,
                rule.effect,
                rule.support,
                rule.confidence,
                rule.lift,
                median(lags),
                rule.count,
                len(found),
            )
        )
    return mined


def measured(found: list[Transaction], cause: str, effect: str) -> Pair | None:
    """The numbers of one rule today; None when its cause did not alarm at all."""
    causes = [t for t in found if cause in t]
    if not causes:
        return None
    both = [t for t in causes if effect in t]
    share = sum(effect in t for t in found) / len(found)
    confidence = len(both) / len(causes)
    lags = [(t[effect] - t[cause]).total_seconds() for t in both]
    return Pair(
        cause,
        effect,
        len(both) / len(found),
        confidence,
        confidence / share if share else 0.0,
        median(lags) if lags else 0.0,
        len(both),
        len(found),
    )


def drifted(now: Pair, causes: int, min_confidence: float) -> bool:
    """Return whether the rule no longer holds: even the upper end of its confidence's 95 % interval
    (Wilson's) is below the limit.
    """
    return upper_bound(now.confidence, causes) < min_confidence


def upper_bound(share: float, count: int) -> float:
    """Upper end of Wilson's 95 % interval of a share seen in ``count`` cases.

    >>> round(upper_bound(0.0, 10), 3), upper_bound(1.0, 5)
    (0.278, 1.0)
    """
    if not count:
        return 1.0
    square = _Z95**2
    middle = share + square / (2 * count)
    spread = _Z95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return min(1.0, (middle + spread) / (1 + square / count))
