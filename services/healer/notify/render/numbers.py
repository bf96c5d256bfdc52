"""Numbers and times as people write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024


def quantity(value: float, unit: str) -> str:
    """Three significant digits and the unit, e.g. ``93.1 %``, ``1.5 GiB``, ``12 per second``."""
    if not math.isfinite(value):
        return "unknown"
    if unit == "percent":
        return f"{_digits(value)} %"
    if unit == "bytes" or unit.startswith("bytes "):
        size = max(value, 1.0)
        power = min(int(math.log(size, _STEP)), len(_BYTES) - 1)
        return f"{_digits(value / _STEP**power)} {_BYTES[power]}{unit.removeprefix('bytes')}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    if abs(value) >= 100:  # noqa: PLR2004 - whole numbers from three digits on
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3g}"


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


def counted(number: int, what: str) -> str:
    """How many of something, e.g. ``1 step``, ``3 steps``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def moment(time_ms: int) -> str:
    """A time for people, e.g. ``2024-01-01 10:00:00 UTC``."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def one_line(text: str, most: int = 200) -> str:
    """``text`` on one line without control characters, cut at ``most`` characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
