"""Finds the later of two messages by the times that their senders' clocks gave them."""

from __future__ import annotations

from datetime import datetime, timedelta

_SKEW = timedelta(minutes=5)
"""Clocks of machines that belong together differ by far less."""


def is_overtaken(at: datetime, known_at: datetime, now: datetime) -> bool:
    """Return whether what is known is later than a message of ``at`` that arrives ``now``.

    Nothing is known from a time that has not come: whoever gave it had a wrong clock, or wants
    to have the last word for ever.
    """
    return at < known_at <= now + _SKEW
