"""Times and forecasts in words for people."""

from __future__ import annotations

from datetime import UTC, date, datetime

from services.client.alerts.records import Episode
from shared.quantity import quantity, unit_of

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
UNKNOWN = "at an unknown time"


def clock(time_ms: int | None, layout: str = "%Y-%m-%d %H:%M") -> str:
    """A time in UTC; a time that no calendar has, which senders can choose, is shown as unknown."""
    if time_ms is None:
        return UNKNOWN
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(layout)
    except (OverflowError, ValueError, OSError):
        return UNKNOWN


def to_the_second(time_ms: int) -> str:
    """A time in UTC, with seconds."""
    return clock(time_ms, "%Y-%m-%d %H:%M:%S")


def number(value: float | None) -> str:
    """A value to six digits; '' for one that is not known."""
    return "" if value is None else f"{value:.6g}"


def measured(value: float | None, item: str) -> str:
    """A value with its item's unit, e.g. ``93.1 %``; '' for one that is not known."""
    unit = unit_of(item)
    return number(value) if value is None or not unit else quantity(value, unit)


def ago(at: datetime, now: datetime | None = None) -> str:
    """Return how far a time is from now, to the nearest unit that people would name."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    length = abs(seconds)
    if length < _MINUTE_S:
        return "just now" if seconds >= 0 else "within a minute"
    if length < _HOUR_S:
        text = f"{length // _MINUTE_S:.0f} min"
    elif length < 2 * _DAY_S:
        text = f"{length // _HOUR_S:.0f} h"
    else:
        text = f"{length // _DAY_S:.0f} days"
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def crossing_range(episode: Episode, today: date | None = None) -> str:
    """The range, e.g. ``between 14:10 and 17:30 UTC``, with dates if the days differ.

    A time of ``today`` has no date.
    """
    earliest, latest = clock(episode.earliest_ms), clock(episode.latest_ms)
    same_day = earliest[:10] == latest[:10]
    if today is not None and earliest[:10] == today.isoformat():
        earliest = earliest[11:]
    if episode.latest_ms is None:
        return f"from {earliest} UTC on"
    if same_day:
        latest = latest[11:]
    return f"between {earliest} and {latest} UTC"


def forecast_sentence(episode: Episode, when: str = "now", today: date | None = None) -> str:
    """The prediction in one sentence, without the series' name before it."""
    way = "rises to" if episode.above else "falls to"
    chance = ""
    if episode.probability is not None:
        chance = f" with a probability of {100 * episode.probability:.0f} %"
    item = episode.item
    now = f", {when} {measured(episode.value, item)}" if episode.value is not None else ""
    return (
        f"{way} {measured(episode.threshold, item)} {crossing_range(episode, today)}{chance}{now}."
    )
