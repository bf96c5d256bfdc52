"""Times and forecasts in words for people."""

from __future__ import annotations

from datetime import UTC, datetime

from services.client.alerts.records import Episode

UNKNOWN = "at an unknown time"


def clock(time_ms: int | None, layout: str = "%Y-%m-%d %H:%M") -> str:
    """UTC; what no calendar has is said to be unknown, for senders choose it."""
    if time_ms is None:
        return UNKNOWN
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(layout)
    except (OverflowError, ValueError, OSError):
        return UNKNOWN


def short_clock(time_ms: int) -> str:
    """UTC without the year, for the axis of a plot."""
    return clock(time_ms, "%m-%d %H:%M")


def to_the_second(time_ms: int) -> str:
    """UTC with seconds."""
    return clock(time_ms, "%Y-%m-%d %H:%M:%S")


def number(value: float | None) -> str:
    """A value to six digits; '' for one that is not known."""
    return "" if value is None else f"{value:.6g}"


def crossing_range(episode: Episode) -> str:
    """E.g. ``between 14:10 and 17:30 UTC``, with dates where the days differ."""
    earliest, latest = clock(episode.earliest_ms), clock(episode.latest_ms)
    if episode.latest_ms is None:
        return f"from {earliest} UTC on"
    if earliest[:10] == latest[:10]:
        latest = latest[11:]
    return f"between {earliest} and {latest} UTC"


def forecast_sentence(episode: Episode) -> str:
    """The prediction in one sentence, without the series' name before it."""
    way = "rises to" if episode.above else "falls to"
    chance = ""
    if episode.probability is not None:
        chance = f" with probability {episode.probability:.0%}"
    now = f", now {number(episode.value)}" if episode.value is not None else ""
    return f"{way} {number(episode.threshold)} {crossing_range(episode)}{chance}{now}."
