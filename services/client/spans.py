"""Durations in words."""

_EXACT = 10
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def span(seconds: float) -> str:
    """Seconds in people's words, e.g. ``3.2s`` and ``2m05s``."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{seconds:.1f}s" if whole < _EXACT else f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR}h"
