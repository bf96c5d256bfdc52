"""Formats values with their unit."""

from __future__ import annotations

import math

from shared.items import ITEMS

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_WHOLE_FROM = 100
"""Numbers with three digits or more are shown without a fraction."""
_TOO_LONG_FROM = 1e15
"""The digits of a number; with more it is hard to read, and exceeds a float's precision."""


def counted(number: int, what: str) -> str:
    """Return how many of something, e.g. ``1 step``, ``3 steps``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def quantity(value: float, unit: str) -> str:
    """Three significant digits and the unit, e.g. ``93.1 %``, ``1.5 GiB``, ``12 per second``."""
    if not math.isfinite(value):
        return "unknown"
    if unit == "boolean":
        return f"{value:g}"
    if unit == "percent":
        return f"{_digits(value)} %"
    if unit == "bytes" or unit.startswith("bytes "):
        size = max(value, 1.0)
        power = min(int(math.log(size, _STEP)), len(_BYTES) - 1)
        return f"{_digits(value / _STEP**power)} {_BYTES[power]}{unit.removeprefix('bytes')}"
    return f"{_digits(value)} {unit}".rstrip()


def unit_of(item: str) -> str:
    """The unit of an item of the catalogue; '' for any other."""
    return ITEMS[item].unit if item in ITEMS else ""


def _digits(value: float) -> str:
    if abs(value) >= _TOO_LONG_FROM:
        return f"{value:.3g}"
    if abs(value) >= _WHOLE_FROM:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3g}"
