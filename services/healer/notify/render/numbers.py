"""Numbers and times as people write them."""

from __future__ import annotations

from datetime import timedelta

from shared.time_zones import at_ms


def span(length: timedelta) -> str:
    """The two largest parts of a time span, e.g. ``3 h 20 min``."""
    seconds = round(abs(length.total_seconds()))
    sizes = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, size in sizes:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def percent(share: float) -> str:
    """A share as people write it, e.g. ``31 %``."""
    return f"{100 * share:.0f} %"


def moment(time_ms: int) -> str:
    """A time for people, e.g. ``2024-01-01 10:00:00 UTC``."""
    return f"{at_ms(time_ms):%Y-%m-%d %H:%M:%S} UTC"


def one_line(text: str, most: int = 200) -> str:
    """``text`` on one line without control characters, cut at ``most`` characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
