"""The table that an evidence collector returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_STEP = 1024
"""The ratio of each unit of bytes to the one before."""

MAX_ROWS = 20
Wait = Callable[[float], object]
"""A function that waits for a number of seconds, or until the agent stops."""


@dataclass(frozen=True)
class Found:
    """A small table: what it shows, its rows (most important first), whether it is cut short."""

    title: str
    rows: tuple[dict[str, str], ...]
    truncated: bool


def table(title: str, rows: Sequence[dict[str, str]], *, cut: bool = False) -> Found:
    """The first ``MAX_ROWS`` rows."""
    return Found(title, tuple(rows[:MAX_ROWS]), cut or len(rows) > MAX_ROWS)


def size_text(size: float) -> str:
    """Bytes for people: ``1.5 GiB``.

    >>> size_text(0), size_text(1536)
    ('0 B', '1.5 KiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _STEP:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} TiB"
