"""The flapping score of an alert: its openings, each counting less with age."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from services.healer.model.incident import Incident
from services.healer.model.notification import Flap, Flaps, series_key
from services.healer.notify.settings import Flapping
from shared.contracts.alerts import Severity

_HOLD_FACTOR = 2.0
"""The multiple of the longest earlier firing beyond which a firing lasts unusually long."""


def score(openings: Iterable[datetime], now: datetime, half_life_s: float) -> float:
    """Sum over the openings of 1/2 to the power of their age in half-lives."""
    return math.fsum(0.5 ** (max((now - at).total_seconds(), 0.0) / half_life_s) for at in openings)


def flaps(openings: Iterable[datetime], now: datetime, *, before: bool, how: Flapping) -> bool:
    """Return whether it flaps: it begins at one score and ends at a lower one."""
    return score(openings, now, how.half_life_s) >= (how.stop if before else how.start)


def calm_at(openings: Iterable[datetime], now: datetime, how: Flapping) -> datetime:
    """Return when the score falls below ``stop`` if it does not open again."""
    now_score = score(openings, now, how.half_life_s)
    if now_score <= how.stop:
        return now
    return now + timedelta(seconds=how.half_life_s * math.log2(now_score / how.stop))


def opened(
    incident: Incident, past: Sequence[Incident], before: Flap | None, how: Flapping
) -> tuple[Flaps, Flap | None]:
    """Return whether the series flaps after ``incident`` opens, and its flapping record.

    An opening that a remediation ended was handled, and does not count.

    Args:
        incident: the new one.
        past: the series' incidents before it, newest first.
        before: its flapping, if it flaps already.
        how: the settings.
    """
    now = incident.opened_at
    counted = [each for each in past if not each.handled]
    openings = [now, *(each.opened_at for each in counted)]
    if not flaps(openings, now, before=before is not None, how=how):
        return "", None
    flap = Flap(
        key=series_key(incident.series),
        incident_id=incident.incident_id,
        openings=before.openings + 1 if before else len(openings),
        since=before.since if before else min(openings),
        until=calm_at(openings, now, how),
        hold_s=_usual_s(counted, how),
        announced=before is not None and before.announced,
        announced_by=before.announced_by if before else "",
        thread_id=before.thread_id if before else "",
    )
    return ("goes on" if before else "begins"), flap


def _usual_s(past: Sequence[Incident], how: Flapping) -> float:
    """Return how long a firing lasts at most, going by those before it."""
    lasted = [
        (each.closed_at - each.opened_at).total_seconds()
        for each in past
        if each.closed_at is not None
    ]
    return min(how.max_hold_s, _HOLD_FACTOR * max(lasted)) if lasted else how.max_hold_s


def held_until(flap: Flap, since: datetime, severity: Severity, how: Flapping) -> datetime:
    """The time until which a firing since ``since`` is held back because the series flaps."""
    hold_s = flap.hold_s
    if severity is Severity.CRITICAL:
        hold_s = min(hold_s, how.max_hold_critical_s)
    return min(flap.until, since + timedelta(seconds=hold_s))
